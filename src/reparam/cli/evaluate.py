"""evaluate and score: how good a model is, and how likely each row."""

from __future__ import annotations

import json
import math
import time
from typing import Any

from reparam import seeding
from reparam.cli import tables
from reparam.cli.common import check_seed, opened, opened_with_data, prepare, say, writable
from reparam.cli.options import EvaluateOptions, ScoreOptions
from reparam.cli.output import TABLES, write_columns
from reparam.data import Dataset, Schema
from reparam.data.streams import is_large
from reparam.distributions import element_support
from reparam.errors import InputError
from reparam.evaluate import (
    Estimate,
    active_units,
    bits_per_dim,
    bound_curve,
    elbo_terms,
    kl_per_layer,
    log_likelihood,
    objective_value,
)
from reparam.evaluate import encode as posterior_means
from reparam.evaluate.estimate import HEAVY
from reparam.objectives import Reconstruction
from reparam.posteriors import Point
from reparam.train import Progress
from reparam.vae import VAE, reference

_HEAVY = "whose weights are too heavy: log p(x) is higher than shown (--method ais)"
_ELBO_K = 20  # samples of the ELBO: enough that its noise does not lift it above the log-likelihood on few rows


def evaluate(options: EvaluateOptions) -> int:
    """``reparam evaluate``."""
    prepare(options.threads)
    run, schema, data = opened_with_data(options)
    seed = check_seed(options.seed)
    numbers = measure(
        run.vae, data, schema, options.k, options.method, seed, options.refine, options.repeats, options.curve,
        options.precision,
    )  # fmt: skip
    if options.json:
        print(json.dumps({name: _plain(value) for name, value in numbers.items()}))
    else:
        print(table(numbers, len(data)))
    return 0


def score(options: ScoreOptions) -> int:
    """``reparam score``."""
    prepare()
    path = writable(options.out, TABLES)
    if is_large(options.data) and (run := opened(options.run)[0]).schema and run.schema.table is not None:
        writable(options.out, tables.FRAMES)
        model = tables.mixed(run, run.schema).set_params(k=options.k or 500, random_state=check_seed(options.seed))
        rows = tables.by_pieces(options.data, path, lambda t: tables.scores(model, t))
        say(f"log p(x) of {rows} rows in {path}")
        return 0
    run, schema, data = opened_with_data(options)
    estimate = likelihood_of(run.vae, data, options.k, options.method, check_seed(options.seed), options.refine)
    scores = (estimate.per_datum + schema.row_units(data)).numpy()
    write_columns(path, {"log_likelihood": scores, "ess": estimate.ess.numpy()})
    say(f"log p(x) of {len(data)} rows in {path}: mean {scores.mean():.3f} nats")
    return 0


def likelihood_of(
    vae: VAE, data: Dataset, k: int | None, method: str, seed: int, refine: int = 0, repeats: int = 1,
    precision: str = "auto",
) -> Estimate:  # fmt: skip
    """The log-likelihood by the method asked for, with progress."""
    if method == "auto":
        method = "prior" if isinstance(vae.posterior, Point) else "importance"
    given: dict[str, Any] = {} if precision == "auto" else {"precision": precision}
    with Progress(len(data) * max(1, repeats), "rows") as bar:
        return log_likelihood(
            vae, data, k, method, seed, progress=lambda done, _: bar.update(done), refine=refine, repeats=repeats,
            **given,
        )  # fmt: skip


def measure(
    vae: VAE, data: Dataset, schema: Schema, k: int | None, method: str, seed: int, refine: int = 0, repeats: int = 1,
    curve: bool = False, precision: str = "auto",
) -> dict[str, Any]:  # fmt: skip
    """The numbers of an evaluation, under the names of ``reparam evaluate --json``; None where one does not exist."""
    if curve and isinstance(vae.posterior, Point):
        raise InputError("the curve of the bound needs a q(z|x) with a density, and this one is a point: leave --curve")
    started = time.monotonic()
    numbers: dict[str, Any] = dict.fromkeys(("elbo", "elbo_stderr", "reconstruction", "kl"))
    if isinstance(vae.posterior, Point):
        numbers["reconstruction"] = objective_value(vae, data, Reconstruction(), seed)["reconstruction"]
    else:
        terms = elbo_terms(vae, data, min(k or 1, _ELBO_K), seed, refine=refine)
        numbers = {
            "elbo": terms.elbo.value,
            "elbo_stderr": terms.elbo.stderr,
            "reconstruction": terms.reconstruction.value,
            "kl": terms.kl.value,
        }
        if layers := kl_per_layer(vae, data, min(k or 1, _ELBO_K), seed):
            numbers["kl_layers"] = [layer.value for layer in layers]
    likelihood = likelihood_of(vae, data, k, method, seed, refine, repeats, precision)
    units = 0.0 if is_discrete(vae, data) else schema.log_units()
    rows = Estimate.of(likelihood.per_datum + (own := schema.row_units(data)), likelihood.k, likelihood.method)
    if schema.table is not None:  # densities per unit of the columns
        for name in ("elbo", "reconstruction"):
            numbers[name] = None if numbers[name] is None else numbers[name] + float(own.mean())
        numbers["elbo_stderr"] = None
    return numbers | {
        "log_likelihood": rows.value,
        "stderr": rows.stderr,
        "method": likelihood.method,
        "k": likelihood.k,
        **({"refine": refine} if refine else {}),
        **({} if likelihood.stderr_repeats is None else {"stderr_repeats": likelihood.stderr_repeats}),
        "ess": float(likelihood.ess.mean()),
        "heavy_rows": None if likelihood.khat is None else int((likelihood.khat > HEAVY).sum()),
        **({"curve": _curve(vae, data, likelihood.k, seed, float(own.mean()))} if curve else {}),
        "bits_per_dim": bits_per_dim(rows.value, data.event_shape, units),
        "active_units": active_units(posterior_means(vae, data, seed)),
        "latent_dim": latent_dim(vae, data),
        "n": len(data),
        "seconds": round(time.monotonic() - started, 3),
    }


def _curve(vae: VAE, data: Dataset, k: int, seed: int, units: float) -> list[dict[str, float]]:
    """The bound for each power of ten up to k, and for k."""
    ks = [10**i for i in range(7) if 10**i < k] + [k]
    found = bound_curve(vae, data, ks, seed)
    rows = zip(found.ks, found.value.tolist(), found.stderr.tolist(), strict=True)
    return [{"k": count, "bound": value + units, "stderr": error} for count, value, error in rows]


def latent_dim(vae: VAE, data: Dataset) -> int:
    """The dimensions of z."""
    return int(vae.prior(*data.contexts_of(slice(0, 1), reference(vae))).event_shape[-1])


def is_discrete(vae: VAE, data: Dataset) -> bool:
    """Whether p(x|z) gives probabilities, and no densities."""
    c = data.contexts_of(slice(0, 1), reference(vae))
    with seeding.seeded(0):
        p_x = vae.likelihood(vae.prior(*c).sample((1,)).reshape(1, -1), *c)
    support = element_support(p_x)
    return support is not None and bool(support.is_discrete)


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _method_words(numbers: dict[str, Any]) -> str:
    names = {"ais": "annealed importance sampling", "exact": "exact", "prior": "Monte Carlo from the prior"}
    name = names.get(numbers["method"], f"{numbers['method']} sampling")
    name += f" from q refined by {numbers['refine']} steps" if numbers.get("refine") else ""
    return name if numbers["method"] == "exact" else f"{name}, k = {numbers['k']}"


def table(numbers: dict[str, Any], rows: int) -> str:
    """The numbers for a person: one line each, with what it means."""

    def line(name: str, value: float | None, said: str, error: float | None = None) -> str:
        shown = (
            "-"
            if value is None
            else f"{value:.3f}" + (f" ± {error:.3f}" if error is not None and math.isfinite(error) else "")
        )
        return f"  {name:<16}{shown:>20}  {said}"

    n, layers, heavy = numbers, numbers.get("kl_layers", []), numbers.get("heavy_rows")
    repeated, curve = n.get("stderr_repeats"), n.get("curve", [])
    return "\n".join(
        [
            f"{rows} rows, nats per datum; ± is one standard error",
            line("log-likelihood", n["log_likelihood"], _method_words(n), n["stderr"]),
            *([] if repeated is None else [line("", repeated, "of that is the sampling's own error, by repeats")]),
            *([f"  {'k-hat > 0.7':<16}{heavy:>20}  of {rows} rows, {_HEAVY}"] if heavy else []),
            *(line(f"bound of {c['k']}", c["bound"], "samples", c["stderr"]) for c in curve),
            line("ELBO", n["elbo"], "the evidence lower bound, reconstruction - KL", n["elbo_stderr"]),
            line("reconstruction", n["reconstruction"], "expected log p(x|z)"),
            line("KL", n["kl"], "what z tells about x beyond the prior"),
            *(
                line(f"KL of z_{len(layers) - i}", kl, "what this layer adds" if i else "the top layer")
                for i, kl in enumerate(layers)
            ),
            line("bits per dim", n["bits_per_dim"], "of each element, per unit of the data: smaller is better"),
            f"  {'active units':<16}{n['active_units']:>20}  of {n['latent_dim']} latent dimensions",
            f"  {'seconds':<16}{n['seconds']:>20.1f}",
        ]
    )
