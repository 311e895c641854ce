"""A model as ONNX: encoder and decoder for whoever runs them without reparam, each checked against torch.

Encoder: x, noise (rows, D) and the contexts give mean, sd and z = a draw of q(z|x), which the noise decides: standard
normal numbers, or zeros for z = mean. Decoder: z and the contexts give the mean of p(x|z); for tables also what is most
probable, class numbers for columns of categories. The number of rows is free.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli

from reparam import seeding
from reparam.data import Schema
from reparam.distributions import Categorical, Joined, Observed, from_standard_normal, unwrap
from reparam.errors import InputError, require
from reparam.posteriors import Point
from reparam.run import Run, atomic_write
from reparam.vae import VAE, reference

CLOSE = 1e-5  # of the largest number, or of 1 where all are smaller
ROWS = (1, 3, 17, 500)  # by which both are compared with torch


class _Encoder(nn.Module):
    def __init__(self, posterior: nn.Module) -> None:
        super().__init__()
        self.posterior = posterior

    def forward(self, x: Tensor, noise: Tensor, *c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mean, standard deviation and draw."""
        q = self.posterior(x, *c)
        if isinstance(self.posterior, Point):
            return q.mean, torch.zeros_like(q.mean), q.mean + 0 * noise
        z = from_standard_normal(q, noise)
        if z is None:
            raise InputError(f"the draws of {type(q).__name__} are no function of normal noise")
        return q.mean, q.stddev, z


class _Decoder(nn.Module):
    def __init__(self, likelihood: nn.Module) -> None:
        super().__init__()
        self.likelihood = likelihood

    def forward(self, z: Tensor, *c: Tensor) -> tuple[Tensor, ...]:
        """The mean; of a table, what is likeliest too."""
        px = self.likelihood(z, *c)
        inside = px.base if isinstance(px, Observed) else px
        if not isinstance(inside, Joined):
            return (px.mean,)
        return px.mean, inside.together([_likeliest(p) for p in inside.parts])


def _likeliest(part: Any) -> Tensor:
    """The most probable class of columns of classes, the mean of others."""
    inside = unwrap(part)
    if isinstance(inside, Categorical):
        return inside.mode
    if isinstance(inside, Bernoulli):
        return (inside.logits > 0).to(inside.logits.dtype)
    mean: Tensor = part.mean
    return mean


def export(run: Run, schema: Schema, folder: str | Path) -> list[Path]:
    """Write encoder.onnx, decoder.onnx, schema.json and example.py to the folder; the files that were written.

    Both are run by onnxruntime on 1, 3, 17 and 500 rows, drawn from the model, and must give what torch gives to 1e-5.

    Raises:
        MissingExtraError: without the packages of the extra "export".
        InputError: for a model that ONNX cannot hold, naming the layer; or one that differs from torch.
    """
    for name in ("onnx", "onnxscript", "onnxruntime"):
        require(name, "export", "a model as ONNX")
    folder, vae = Path(folder), run.vae.eval()
    widths = _widths(schema)
    names = ["context"] * bool(_known(schema)) + ["size"] * schema.exposed
    made = {
        "encoder.onnx": (_Encoder(vae.posterior), ["x", "noise", *names], ["mean", "sd", "z"]),
        "decoder.onnx": (_Decoder(vae.likelihood), ["z", *names], ["mean", "likeliest"]),
    }  # fmt: skip
    written: dict[str, bytes] = {}
    for name, (module, inputs, outputs) in made.items():
        given = _rows(vae, schema, 3, widths)
        written[name] = _onnx(module.eval(), [given[i] for i in inputs], inputs, outputs)
        for rows in ROWS:
            given = _rows(vae, schema, rows, widths)
            _compare(name, written[name], module, {i: given[i] for i in inputs})
    folder.mkdir(parents=True, exist_ok=True)
    texts = {"schema.json": schema.to_json(), "example.py": example(schema, names, widths, int(given["z"].shape[1]))}
    for name, content in (written | {k: v.encode() for k, v in texts.items()}).items():
        atomic_write(folder / name, content)
    return [folder / name for name in (*written, *texts)]


def _known(schema: Schema) -> int:
    """How many numbers the contexts of a row have, but for its size."""
    if schema.table is not None:
        return len(schema.table.group.categories or ()) if schema.table.group else 0
    return sum(c.width for c in schema.contexts or ())


def _widths(schema: Schema) -> list[int]:
    """How many numbers each context has, of counts the size of the row as the last."""
    known = _known(schema)
    return [known] * bool(known) + [1] * schema.exposed


@torch.no_grad()
def _rows(vae: VAE, schema: Schema, n: int, widths: Sequence[int]) -> dict[str, Tensor]:
    """What both are compared by: latents of the prior, data drawn there, of tables with holes."""
    like = reference(vae)
    with seeding.seeded(n):
        contexts = [torch.nn.functional.one_hot(torch.randint(w, (n,)), w).to(like) for w in widths]
        if schema.exposed:
            contexts[-1] = torch.rand(n, 1).to(like) + 0.5
        p = vae.prior(*contexts)
        z = p.sample() if p.batch_shape else p.sample((n,))
        x = vae.likelihood(z, *contexts).sample().to(like)
        if schema.table is not None:
            x = x.masked_fill(torch.rand(x.shape, device=x.device) < 0.2, torch.nan)
        named = {"z": z, "x": x, "noise": torch.randn_like(z)}
    names = ["context"] * bool(_known(schema)) + ["size"] * schema.exposed
    return named | dict(zip(names, contexts, strict=True))


def _onnx(module: nn.Module, given: list[Tensor], inputs: list[str], outputs: list[str]) -> bytes:
    rows, inside = {0: torch.export.Dim("rows")}, _Inside(module)
    own = 2 if isinstance(module, _Encoder) else 1
    contexts = (tuple(rows for _ in given[own:]),) if given[own:] else ()
    with torch.no_grad():
        count = len(module(*given))
    try:
        with inside, _quiet(), torch.no_grad():
            made = torch.onnx.export(
                module, tuple(given), dynamo=True, dynamic_shapes=(*[rows] * own, *contexts), verbose=False,
                input_names=inputs, output_names=outputs[:count], optimize=True,
            )  # fmt: skip
            assert made is not None
            return bytes(made.model_proto.SerializeToString())
    except Exception as error:
        why = next((line for line in _words(error) if line), type(error).__name__)
        raise InputError(f"ONNX cannot hold {inside.where}: {why[:200]}") from error


def _words(error: Exception) -> Iterator[str]:
    """The first line of what began it, and of what it became."""
    for e in (error.__cause__, error):
        yield str(e).strip().partition("\n")[0] if e is not None else ""


class _Inside:
    """Which layer is at work, so that an error can name it."""

    def __init__(self, module: nn.Module) -> None:
        self.module, self.path = module, [type(module).__name__.strip("_").lower()]
        self.where = f"the {self.path[0]}"

    def __enter__(self) -> None:
        self.hooks = [h for name, m in self.module.named_modules() if name for h in self._hooks(name, m)]

    def _hooks(self, name: str, m: nn.Module) -> tuple[Any, Any]:
        said = f"the layer {type(m).__name__} ({name})"
        return (m.register_forward_pre_hook(lambda *_: self.path.append(said)),
                m.register_forward_hook(lambda *_: self.path.pop() and None))  # fmt: skip

    def __exit__(self, kind: Any, *_: object) -> None:
        if kind is not None and len(self.path) > 1:
            self.where = self.path[-1]
        for hook in self.hooks:
            hook.remove()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's own progress, which speaks of its inside."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _compare(name: str, content: bytes, module: nn.Module, given: dict[str, Tensor]) -> None:
    """Whether onnxruntime gives what torch gives."""
    runtime = require("onnxruntime", "export", "a model as ONNX")
    session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    taken = {i.name for i in session.get_inputs()}
    found = session.run(None, {k: v.detach().cpu().numpy() for k, v in given.items() if k in taken})
    with torch.no_grad():
        expected = [t.cpu().numpy() for t in module(*given.values())]
    for part, got, want in zip((o.name for o in session.get_outputs()), found, expected, strict=True):
        far = float(np.abs(got - want).max()) if got.shape == want.shape else float("inf")
        if not far <= CLOSE * max(1.0, float(np.abs(want).max())):
            raise InputError(f"{name} does not give what torch gives: {part} differs by {far:.2g}; nothing was written")


def example(schema: Schema, names: Sequence[str], widths: Sequence[int], dim: int) -> str:
    """A script of the folder that needs numpy and onnxruntime alone."""
    shape = ", ".join(map(str, schema.event_shape))
    divided = f"  # from 0 to 1: divide pixels by {schema.pixel_max}" if schema.pixel_max else ""
    if schema.table is not None:
        divided = "  # (value - loc) / spread of schema.json, class numbers, counts; NaN where missing"
    lines = (
        f'context["{n}"] = np.{"ones" if n == "size" else "zeros"}((len(x), {w}), np.float32)\n'
        for n, w in zip(names, widths, strict=True)
    )
    context = "".join(lines)
    return f'''"""Encode rows, decode their codes, and draw new rows, without reparam: pip install numpy onnxruntime."""
from pathlib import Path

import numpy as np
import onnxruntime as ort

here = Path(__file__).parent
encoder, decoder = (ort.InferenceSession(here / f"{{name}}.onnx") for name in ("encoder", "decoder"))
x = np.zeros((3, {shape}), np.float32){divided}
context = {{}}
{context}
noise = np.zeros((len(x), {dim}), np.float32)  # zeros give the mean; standard normal numbers a draw of q(z|x)
mean, sd, z = encoder.run(None, {{"x": x, "noise": noise, **context}})
print("codes", mean.shape, "with standard deviations", sd.mean())

decoded = decoder.run(["mean"], {{"z": z, **context}})[0]
print("reconstructions", decoded.shape, "from", decoded.min(), "to", decoded.max())
'''
