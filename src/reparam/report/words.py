"""What a report says: every number of the evaluation with its meaning, the model's parts, and how training went."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from reparam import likelihoods
from reparam.data import Schema
from reparam.posteriors import Point
from reparam.run import describe
from reparam.train import History
from reparam.train.progress import duration
from reparam.vae import VAE, reference

MINUS, TIMES = "\u2212", "\u00d7"


class Row(NamedTuple):
    """A line of a table: its name, its value, and a sentence that says what it means."""

    name: str
    value: str
    meaning: str = ""


@dataclass(frozen=True)
class Facts:
    """What is known about a run."""

    vae: VAE
    schema: Schema
    config: Mapping[str, Any]
    history: Any  # a History, or its records
    records: Sequence[Mapping[str, Any]]
    evaluation: Mapping[str, Any]

    @property
    def latent_dim(self) -> int | None:
        """D, where the prior tells it."""
        dim = self.evaluation.get("latent_dim", getattr(self.vae.prior, "dim", None))
        return None if dim is None else int(dim)

    @property
    def autoencoder(self) -> bool:
        """Whether the posterior has no density, so that bounds by it do not exist."""
        return isinstance(self.vae.posterior, Point)

    @property
    def event(self) -> str:
        """One datum in words."""
        shape = self.schema.event_shape
        return f"{shape[0]:,} columns" if len(shape) == 1 else f" {TIMES} ".join(map(str, shape))


def number(value: Any, digits: int = 2) -> str:
    """A number for people: separated thousands, a true minus, and a dash for what does not exist."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "\u2013"
    if isinstance(value, bool | str) or not isinstance(value, int | float):
        return str(value)
    return (f"{value:,}" if isinstance(value, int) else f"{value:,.{digits}f}").replace("-", MINUS)


def measured(value: Any, error: Any, unit: str) -> str:
    """A value with its standard error, both to the second digit of the error."""
    known = isinstance(error, int | float) and math.isfinite(error) and error > 0
    digits = min(4, max(1, 1 - math.floor(math.log10(error)))) if known else 2
    shown = number(None if value is None else float(value), digits)
    if shown == "\u2013":
        return shown
    return f"{shown} ± {number(float(error), digits)} {unit}" if known else f"{shown} {unit}"


# -- evaluation --------------------------------------------------------------------------------------------------------

_ESTIMATE = {
    "importance": "Estimated by importance sampling from q(z|x)",
    "prior": "Estimated by plain sampling of z from the prior",
}


_DISCRETE = (
    likelihoods.Bernoulli,
    likelihoods.Binomial,
    likelihoods.Categorical,
    likelihoods.DiscretizedLogistic,
    likelihoods.MixtureOfDiscretizedLogistics,
    likelihoods.Multinomial,
    likelihoods.NegativeBinomial,
    likelihoods.Ordinal,
    likelihoods.Poisson,
    likelihoods.ZeroInflated,
)


def evaluation_rows(facts: Facts) -> list[Row]:
    """Every number of the evaluation, the most telling first, each with a sentence for a newcomer."""
    e, get = facts.evaluation, facts.evaluation.get
    density = "" if isinstance(facts.vae.likelihood, _DISCRETE) else (
        " The data are real numbers, so p(x) is a density: its logarithm may exceed zero and depends on the unit of x."
    )  # fmt: skip
    none = " It does not exist here: q(z|x) of an autoencoder is a point and has no density."
    elements = math.prod(facts.schema.event_shape)
    of = "" if facts.latent_dim is None else f" of {facts.latent_dim}"
    draws = "" if get("k") is None else f" with {number(get('k'))} draws for each datum"
    rows = {
        "log_likelihood": Row("Log-likelihood", measured(get("log_likelihood"), get("stderr"), "nats"),
            "The logarithm of the probability that the model gives to a datum: higher is better. "
            f"{_ESTIMATE.get(str(get('method')), _ESTIMATE['prior' if facts.autoencoder else 'importance'])}{draws}; "
            "in expectation the estimate is a lower bound too, and rises to the true value with more draws. "
            f"± is one standard error over the data.{density}"),
        "elbo": Row("ELBO", measured(get("elbo"), get("elbo_stderr"), "nats"),
            "The evidence lower bound, reconstruction minus KL: in expectation never above the log-likelihood. The "
            "gap between them is how far q(z|x) is from the true posterior."),
        "reconstruction": Row("Reconstruction", measured(get("reconstruction"), None, "nats"),
            "How probable a datum is given its own latent code, the mean of log p(x|z) over q(z|x): higher is better."),
        "kl": Row("KL divergence", measured(get("kl"), None, "nats"),
            "How much the latent code says about a datum beyond what the prior said already. Near zero, the model "
            "ignores its code."),
        "bits_per_dim": Row("Bits per dimension", number(get("bits_per_dim"), 3),
            f"The log-likelihood with its sign turned, shared out over the {elements:,} elements of a datum and "
            "counted in bits (1 nat is 1.44 bits), per unit of the data, such as one grey level: lower is better."),
        "active_units": Row("Active units", number(get("active_units")) + of,
            "Latent dimensions that are in use: the posterior mean varies over the data, by a variance above 0.01."),
        "ess": Row("Effective draws", number(get("ess"), 1),
            "How many of the draws carry the estimate, on average: near 1, it rests on few and lies far too low."),
        "heavy_rows": Row("Heavy rows", number(get("heavy_rows")),
            "Rows whose estimate rests on a few draws (Pareto k-hat above 0.7): their log-likelihood is higher than it "
            "shows, and annealing (--method ais) comes nearer."),
        "n": Row("Rows", number(get("n")), "How many data were evaluated: the error shrinks with their square root."),
        "seconds": Row("Time", _time(get("seconds")), "What this evaluation took."),
    }  # fmt: skip
    if facts.autoencoder:
        for name in ("elbo", "kl"):
            if number(get(name)) == "\u2013":
                rows[name] = rows[name]._replace(meaning=rows[name].meaning + none)
    told = {"stderr", "stderr_repeats", "elbo_stderr", "k", "method", "data", "latent_dim", "curve"}
    rest = [Row(str(name), number(value)) for name, value in e.items() if name not in told and name not in rows]
    return [row for name, row in rows.items() if name in e] + rest


def _time(seconds: Any) -> str:
    if number(seconds) == "\u2013":
        return "\u2013"
    return f"{float(seconds):.1f} s" if float(seconds) < 60 else duration(float(seconds))


# -- model -------------------------------------------------------------------------------------------------------------

_PARTS = {
    "priors.StandardNormal": "standard normal, N(0, I)",
    "priors.Gaussian": "Gaussian, fixed",
    "priors.ConditionalGaussian": "Gaussian, by a network of the context",
    "priors.Mixture": "mixture of Gaussians",
    "priors.VampPrior": "VampPrior, a mixture of the posteriors of learned data",
    "priors.Flow": "autoregressive flow",
    "priors.TopDown": "hierarchy of Gaussians, each given the one above it",
    "priors.Bernoulli": "independent bits",
    "priors.Categorical": "independent classes",
    "priors.SphereUniform": "uniform on the sphere",
    "posteriors.DiagonalGaussian": "Gaussian, independent dimensions",
    "posteriors.FullGaussian": "Gaussian with full covariance",
    "posteriors.LowRankGaussian": "Gaussian with a covariance of low rank",
    "posteriors.Flow": "autoregressive flow",
    "posteriors.BottomUp": "hierarchy of Gaussians, from the datum up",
    "posteriors.TopDown": "hierarchy of Gaussians, from the top down",
    "posteriors.Bernoulli": "independent bits",
    "posteriors.Categorical": "independent classes",
    "posteriors.VonMisesFisher": "von Mises-Fisher on the sphere",
    "posteriors.Point": "a point: a conventional autoencoder",
    "likelihoods.Bernoulli": "Bernoulli, for binary data",
    "likelihoods.Categorical": "categorical, for classes",
    "likelihoods.ContinuousBernoulli": "continuous Bernoulli, for values between 0 and 1",
    "likelihoods.Gaussian": "Gaussian",
    "likelihoods.MixtureOfGaussians": "mixture of Gaussians, for numbers with several likely values",
    "likelihoods.Beta": "beta, for shares between 0 and 1",
    "likelihoods.Laplace": "Laplace",
    "likelihoods.StudentT": "Student's t, for data with outliers",
    "likelihoods.LogNormal": "log-normal, for positive data",
    "likelihoods.Poisson": "Poisson, for counts",
    "likelihoods.NegativeBinomial": "negative binomial, for counts",
    "likelihoods.Binomial": "binomial, for counts of successes",
    "likelihoods.Multinomial": "multinomial, for counts of a fixed total",
    "likelihoods.Ordinal": "ordinal, for ordered classes",
    "likelihoods.DiscretizedLogistic": "discretised logistic, for grey levels",
    "likelihoods.MixtureOfDiscretizedLogistics": "mixture of discretised logistics, for grey levels",
}
_WRAPPED = {
    "likelihoods.Observed": "; what is missing is left out",
    "likelihoods.ZeroInflated": ", with extra zeros",
    "likelihoods.Standardized": ", of standardised data",
    "networks.Cells": ", on columns as numbers, with what is missing marked",
    "networks.Rescale": ", on standardised inputs",
    "networks.Log1p": ", on log(1 + x)",
    "networks.WithoutLast": "",
    "networks.Lowest": ", of the lowest layer",
    "networks.Floored": "",
}
_SCALES = {
    "shared": "one learned scale",
    "elementwise": "a learned scale for each element",
    "predicted": "scales predicted by the decoder",
}


def model_rows(facts: Facts) -> list[Row]:
    """The parts of the model, from the description in the run's configuration."""
    spec = facts.config.get("model") or describe(facts.vae)
    prior, likelihood, posterior = (_table(spec, name) for name in ("prior", "likelihood", "posterior"))
    dims = "" if facts.latent_dim is None else f", {plural(facts.latent_dim, 'dimension')}"
    count = sum(p.numel() for p in facts.vae.parameters())
    return [
        Row("Data", f"{facts.event}, {facts.schema.dtype}{_units(facts.schema)}"),
        Row("Prior p(z)", _part(prior) + dims),
        Row("Likelihood p(x|z)", _part(likelihood)),
        Row("Posterior q(z|x)", _part(posterior)),
        Row("Encoder", _network(_table(posterior, "net"))),
        Row("Decoder", _network(_table(_innermost(likelihood), "net"))),
        Row("Parameters", f"{count:,}, {str(reference(facts.vae).dtype).removeprefix('torch.')}"),
    ]


def _table(spec: Any, name: str) -> Mapping[str, Any]:
    inner = spec.get(name) if isinstance(spec, Mapping) else None
    return inner if isinstance(inner, Mapping) else {}


def _inside(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a part that only wraps another one wraps; empty for others."""
    if spec.get("type") not in _WRAPPED:
        return {}
    return _table(spec, "likelihood") or _table(spec, "inner") or _table(spec, "net")


def _innermost(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    return _innermost(inside) if (inside := _inside(spec)) else spec


def _wrapped(spec: Mapping[str, Any], words: str) -> str:
    """The words of what is inside, and how it is wrapped."""
    return words + _WRAPPED[str(spec["type"])]


def _units(schema: Schema) -> str:
    white = "" if schema.pixel_max is None else f", divided by {schema.pixel_max:g}"
    made = {"dynamic": ", made binary by a draw of each value", "threshold": ", made binary at 1/2"}
    return white + made.get(str(schema.binarize), "")


def _part(spec: Mapping[str, Any]) -> str:
    """A distribution in words; a class that this file does not know is given by its name."""
    if inside := _inside(spec):
        return _wrapped(spec, _part(inside))
    kind = str(spec.get("type", "unknown"))
    if kind == "likelihoods.Mixed":
        *some, last = dict.fromkeys(_family(part) for part, _ in spec["parts"])
        return "by the kind of column: " + " or ".join(filter(None, (", ".join(some), last)))
    words = _PARTS.get(kind, kind.rpartition(".")[2].removeprefix("unlisted:"))
    words += ", times the size of the row" if spec.get("exposure") else ""
    if "scale" not in spec:
        return words
    scale = spec["scale"]
    fixed = "fixed scales" if isinstance(scale, Mapping) else f"scale {scale}"
    return f"{words}, {_SCALES.get(str(scale), fixed)}"


def _family(spec: Mapping[str, Any]) -> str:
    """The words of a part's family alone."""
    return _part({k: v for k, v in spec.items() if k != "scale"}).partition(", for ")[0]


def _network(spec: Mapping[str, Any]) -> str:
    """A network in words, by its sizes from input to output."""
    if inside := _inside(spec):
        return _wrapped(spec, _network(inside))
    kind = str(spec.get("type", "unknown"))

    def sizes(*parts: Any) -> str:
        return " → ".join(f" {TIMES} ".join(map(str, p)) if isinstance(p, list | tuple) else str(p) for p in parts)

    get = spec.get
    if kind == "networks.MLP":
        return f"fully connected, {sizes(get('inputs'), *get('hidden', ()), get('outputs'))}, {get('activation')}"
    if kind in ("networks.ConvEncoder", "networks.ConvDecoder"):
        inward = kind.endswith("Encoder")
        channels = list(get("channels", ()))
        ends = (get("shape"), get("outputs")) if inward else (get("inputs"), [*get("prefix", ()), *get("shape", ())])
        middle = channels if inward else channels[::-1]
        return f"convolutions of stride 2, {sizes(ends[0], *middle, ends[1])}, {get('activation')}"
    return kind.rpartition(".")[2].removeprefix("unlisted:")


# -- training ----------------------------------------------------------------------------------------------------------


def training_rows(facts: Facts) -> list[Row]:
    """How training went, and with what settings."""
    train = facts.config.get("train") or {}
    rows = [Row("Epochs", f"{len(facts.records):,}{_ending(facts)}")] if facts.records else []
    best = _best(facts)
    if best is not None:
        kind = "validation" if "validation_objective" in best else "training"
        value = number(float(best["validation_objective" if kind == "validation" else "train_objective"]))
        rows.append(Row("Weights kept", f"those of epoch {best['epoch']}, {kind} objective {value} nats per datum"))
    if facts.records:
        last = facts.records[-1]
        rows.append(Row("Speed", f"{number(last.get('rows_per_second'))} rows per second"))
        rows.append(Row("Time", f"{_time(last.get('seconds', 0))}, {number(last.get('step'))} steps"))
        rows += _moving(facts.records)
    if isinstance(facts.history, History):
        rows += [Row("Note", note) for note in facts.history.notes]
    names = (("objective", "Objective"), ("rows", "Training rows"), ("batch_size", "Batch size"),
             ("lr", "Learning rate"), ("seed", "Seed"), ("data", "Digest of the data"))  # fmt: skip
    return rows + [Row(name, _setting(key, train[key])) for key, name in names if train.get(key) is not None]


def _moving(records: Sequence[Mapping[str, Any]]) -> Iterator[Row]:
    """Weights that changed during the run: at the end of its first epoch, and of its last."""
    for key in records[-1]:
        if key.startswith("scheduled_"):
            first, last = (f"{r.get(key, math.nan):.4g}".replace("-", MINUS) for r in (records[0], records[-1]))
            yield Row(f"Schedule of {key.removeprefix('scheduled_')}", f"{first} in epoch 1, {last} in the last one")


def _setting(key: str, value: Any) -> str:
    """A setting in words; ``ELBO(k=2)``, and ``ELBO{'k': 2}`` of older runs, are ELBO (k = 2)."""
    if key != "objective":
        return f"{value:g}" if isinstance(value, float) else number(value) if key == "rows" else str(value)
    found = re.fullmatch(r"(\w+)[({](.*)[)}]", str(value), re.DOTALL)
    if not found:
        return str(value)
    name, inside = found[1], re.sub(r"\s*[:=]\s*", " = ", found[2].replace("'", ""))
    return f"{name} ({inside})" if inside else name


def _ending(facts: Facts) -> str:
    """How training ended, behind the number of epochs."""
    planned = (facts.config.get("train") or {}).get("epochs")
    stopped = facts.history.stopped if isinstance(facts.history, History) else None
    of = f" of {planned}" if planned else ""
    if stopped == "interrupted":
        return f"{of}; interrupted, and can be resumed"
    if stopped == "early":
        return f"{of}; stopped early, as validation no longer improved"
    if stopped == "finished" or planned == len(facts.records):
        return f"{of}; ran to its end"
    return f"{of}; ended before its last epoch" if planned else ""


def _best(facts: Facts) -> Mapping[str, Any] | None:
    """The record of the epoch whose weights were kept."""
    if isinstance(facts.history, History) and facts.history.best is not None:
        return facts.history.best
    held = [r for r in facts.records if math.isfinite(r.get("validation_objective", math.nan))]
    if held:
        sign = facts.history.sign if isinstance(facts.history, History) else 1
        known = {r["epoch"]: r for r in held}.get(held[-1].get("best_epoch"))  # told by the run, whatever its sign
        return known or max(held, key=lambda r: sign * float(r["validation_objective"]))
    return facts.records[-1] if facts.records else None


def plural(n: int, thing: str) -> str:
    """A number of things in words."""
    return f"{n:,} {thing}{'' if n == 1 else 's'}"
