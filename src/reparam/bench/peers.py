"""Other libraries with the same model, where they are installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import Tensor

from reparam.bench import by_pythae

if TYPE_CHECKING:
    from reparam.bench.cases import Case


def installed(case: Case, x: Tensor) -> dict[str, Callable[[], object]]:
    """An epoch of each that is here and that this case has a model for."""
    found: dict[str, Callable[[], object]] = {}
    if case.channels or case.k != 1 or len(case.hidden) != 1:
        return found
    if importlib.util.find_spec("jax"):
        found["jax"] = _jax(case, x)
    if importlib.util.find_spec("pythae"):
        found["pythae"] = by_pythae.epochs(x, case.hidden[0], case.latent, case.batch)
    return found


def programs(data: str, folder: str, sizes: dict[str, int]) -> dict[str, str]:
    """The text of a process that trains for an epoch on the x of ``data``, of each that is here."""
    if not importlib.util.find_spec("pythae"):
        return {}
    call = "by_pythae.epochs(x, {hidden}, {latent}, {batch})()".format(**sizes)
    return {"pythae": f"{data}\nimport sys; sys.path.insert(0, {folder!r})\nimport by_pythae\n{call}\n"}


def _jax(case: Case, x: Tensor) -> Callable[[], object]:
    """An epoch as one compiled scan over its batches, with Adam written out, in float32."""
    jax: Any = importlib.import_module("jax")
    jnp: Any = importlib.import_module("jax.numpy")
    sizes = [(case.shape[0], case.hidden[0]), (case.hidden[0], 2 * case.latent), (case.latent, case.hidden[0]),
             (case.hidden[0], case.shape[0])]  # fmt: skip
    keys = jax.random.split(jax.random.PRNGKey(0), 5)
    weights = [
        (jax.random.uniform(key, size, minval=-1.0, maxval=1.0) / size[0] ** 0.5, jnp.zeros(size[1]))
        for key, size in zip(keys, sizes, strict=False)
    ]
    data = jnp.asarray(x.numpy())
    steps = len(data) // case.batch

    def loss(w: Any, rows: Any, key: Any) -> Any:
        h = jax.nn.relu(rows @ w[0][0] + w[0][1])
        mean, log_variance = jnp.split(h @ w[1][0] + w[1][1], 2, -1)
        z = mean + jnp.exp(log_variance / 2) * jax.random.normal(key, mean.shape)
        logits = jax.nn.relu(z @ w[2][0] + w[2][1]) @ w[3][0] + w[3][1]
        cross = jnp.sum(jax.nn.softplus(logits) - rows * logits)
        kl = -0.5 * jnp.sum(1 + log_variance - mean**2 - jnp.exp(log_variance))
        return (cross + kl) / len(rows)

    def step(state: Any, given: Any) -> Any:
        w, m, v, t = state
        g = jax.grad(loss)(w, *given)
        t = t + 1
        m = jax.tree.map(lambda a, b: 0.9 * a + 0.1 * b, m, g)
        v = jax.tree.map(lambda a, b: 0.999 * a + 0.001 * b * b, v, g)
        w = jax.tree.map(lambda p, a, b: p - 1e-3 * (a / (1 - 0.9**t)) / (jnp.sqrt(b / (1 - 0.999**t)) + 1e-8), w, m, v)
        return (w, m, v, t), 0.0

    @jax.jit
    def epoch(state: Any, key: Any) -> Any:
        order, noise = jax.random.split(key)
        rows = data[jax.random.permutation(order, len(data))[: steps * case.batch]]
        batches = rows.reshape(steps, case.batch, -1)
        return jax.lax.scan(step, state, (batches, jax.random.split(noise, steps)))[0]

    zeros = jax.tree.map(jnp.zeros_like, weights)
    state, key = (weights, zeros, zeros, 0.0), keys[4]

    def run() -> None:
        nonlocal state, key
        key, now = jax.random.split(key)
        state = jax.block_until_ready(epoch(state, now))

    return run
