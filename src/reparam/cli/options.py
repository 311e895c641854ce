"""The options of each command, as plain dataclasses: one field, one option, one line of help."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


def option(default: Any, text: str, **more: Any) -> Any:
    """A field with its default and its help."""
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata={"help": text, **more})
    return field(default=default, metadata={"help": text, **more})


def required(text: str, **more: Any) -> Any:
    """A field that must be given."""
    return field(metadata={"help": text, **more})


_DATA = ".npy .npz .csv .tsv .parquet, an idx file (.gz too), a folder of images, or: digits"
_RUN = "the folder of a trained model"
_LIKELIHOOD = (  # data.schema.LIKELIHOODS, which would import numpy and torch for a line of help
    "auto (reads the data and says why), bernoulli, continuous_bernoulli, discretized_logistic, "
    "discretized_logistic_mixture, gaussian, laplace, student_t, log_normal, beta, poisson, negative_binomial, "
    "zero_inflated_poisson, zero_inflated_negative_binomial, multinomial, categorical or ordinal"
)
_SEED = "decides all randomness: 0 to 2**32 - 1"
_K = "samples of z for each row"


@dataclass
class TrainOptions:
    """Train a model on your data and leave a run folder with its report."""

    data: str = required(_DATA, positional=True)
    out: str = required("the run folder to make")
    labels: str | None = option(None, "a file with a label for each row, or a column to leave out as label")
    likelihood: str = option("auto", _LIKELIHOOD)
    binarize: str | None = option(None, "grey values to 0 and 1: dynamic (a fresh draw at each visit) or threshold")
    pixel_max: float | None = option(None, "the value of white, where grey values are whole numbers")
    scale: str = option("auto", "of real data or grey levels: a number, shared, elementwise or predicted")
    posterior: str = option("diagonal", "diagonal, full (covariance) or point (a plain autoencoder)")
    network: str = option("mlp", "mlp or conv")
    hidden: list[int] | None = option(None, "sizes of the hidden layers of mlp: 400,200; 400 unless given")
    channels: list[int] | None = option(None, "channels of the stages of conv: 32,64 unless given")
    activation: str = option("relu", "relu, tanh, silu, gelu, elu or softplus")
    latent_dim: int = option(10, "dimensions of the latent space; 2 can be drawn as a map")
    recipe: str | None = option(None, "a model of a paper with its objective, from: reparam recipes")
    objective: str = option("auto", "elbo, iwae or reconstruction; auto is elbo, or reconstruction for point")
    k: int | None = option(None, "samples of z in the objective: 1, or 5 for iwae, unless given")
    beta: float = option(1.0, "the weight of the KL in elbo; at 1 it is the evidence lower bound")
    epochs: int = option(50, "passes over the data, at most")
    batch_size: int = option(128, "rows in a step")
    lr: float = option(1e-3, "learning rate")
    optimizer: str = option("adam", "adam, adamw, adamax, nadam, radam, rmsprop, adagrad or sgd")
    clip: float | None = option(None, "the largest norm of the gradient; unlimited unless given")
    accumulate: int = option(1, "batches for one step, taken one after the other")
    ema: float | None = option(None, "decay of an average of the weights, such as 0.999, to be validated and kept")
    compile: str = option("auto", "auto (where the run is long enough), true or false: one compiled graph for a step")
    precision: str = option("auto", "of matrix products: auto, float32, bfloat16 (where hardware has it) or float64")
    validation: float = option(0.05, "share of the rows held out to choose the best epoch; 0 holds out none")
    patience: int = option(10, "stop after so many epochs without a better validation objective")
    seed: int = option(0, _SEED)
    threads: int | None = option(None, "threads of torch; unless given all cores, or one if the model is small")
    overwrite: bool = option(False, "replace a run that is in the folder already")


@dataclass
class ResumeOptions:
    """Go on with a run that was interrupted or killed: the same bits as if it had not been."""

    run: str = required(_RUN, positional=True)
    epochs: int | None = option(None, "a new number of epochs in all")


@dataclass
class EvaluateOptions:
    """Say how good a model is on data: bound, its terms, and log-likelihood, in nats per datum."""

    run: str = required(_RUN, positional=True)
    data: str = required(_DATA, positional=True)
    k: int | None = option(None, _K + " in the log-likelihood: 5000 unless given, or 16 chains for ais")
    method: str = option("auto", "importance, mixture, prior, ais or exact; auto is importance, or prior for point")
    binarize: str | None = option(None, "dynamic or threshold; as in training unless given")
    labels: str | None = option(None, "a column to leave out as label")
    seed: int = option(0, _SEED)
    json: bool = option(False, "print one JSON object")
    threads: int | None = option(None, "threads of torch; all cores unless given")


@dataclass
class SampleOptions:
    """Draw data from the model: z from the prior, then x from p(x|z)."""

    run: str = required(_RUN, positional=True)
    out: str = required("where to: .npy .npz .csv .parquet, or .png for a grid of images")
    n: int = option(64, "how many", short="-n")
    mean: bool = option(False, "give the mean of p(x|z) instead of a draw from it")
    seed: int = option(0, _SEED)


@dataclass
class EncodeOptions:
    """Write the mean of q(z|x) of each row: its place in the latent space."""

    run: str = required(_RUN, positional=True)
    data: str = required(_DATA, positional=True)
    out: str = required("where to: .npy .npz .csv .parquet")
    binarize: str | None = option(None, "dynamic or threshold; as in training unless given")
    labels: str | None = option(None, "a column to leave out as label")
    seed: int = option(0, _SEED)


@dataclass
class DecodeOptions:
    """Write the mean of p(x|z) for each row of latents."""

    run: str = required(_RUN, positional=True)
    latents: str = required("an array (rows, latent dimensions): .npy .npz .csv .parquet", positional=True)
    out: str = required("where to: .npy .npz .csv .parquet, or .png for a grid of images")
    sample: bool = option(False, "draw from p(x|z) instead of giving its mean")
    seed: int = option(0, _SEED)


@dataclass
class ReconstructOptions:
    """Write what the model makes of each row: the mean of p(x|z) at the mean of q(z|x)."""

    run: str = required(_RUN, positional=True)
    data: str = required(_DATA, positional=True)
    out: str = required("where to: .npy .npz .csv .parquet, or .png for a grid of images")
    binarize: str | None = option(None, "dynamic or threshold; as in training unless given")
    labels: str | None = option(None, "a column to leave out as label")
    seed: int = option(0, _SEED)


@dataclass
class ScoreOptions:
    """Write log p(x) of each row, in nats, with the effective sample size of its estimate."""

    run: str = required(_RUN, positional=True)
    data: str = required(_DATA, positional=True)
    out: str = required("where to: .npy (scores alone) .npz .csv .parquet")
    k: int | None = option(None, _K + ": 5000 unless given, or 16 chains for ais")
    method: str = option("auto", "importance, mixture, prior, ais or exact; auto is importance, or prior for point")
    binarize: str | None = option(None, "dynamic or threshold; as in training unless given")
    labels: str | None = option(None, "a column to leave out as label")
    seed: int = option(0, _SEED)


@dataclass
class RecipesOptions:
    """List the models of papers that train --recipe NAME takes, one line each."""


@dataclass
class DemoOptions:
    """Train on the bundled digits, evaluate, and write pictures and a report: under a minute."""

    out: str = option("demo", "the run folder to make, or to make anew")
    seed: int = option(0, _SEED)


@dataclass
class BenchOptions:
    """Time the library on this machine, beside loops written by hand and other libraries that are installed."""

    json: bool = option(False, "print one JSON object")
    quick: bool = option(False, "one case and two rounds: whether it runs, not how fast")
    cases: str | None = option(None, "mlp-128, mlp-1024, conv-28, conv-64, iwae-50, importance; all unless given")
    rounds: int | None = option(None, "alternating rounds of which medians are taken: 7, or 2 if quick")
    form: str | None = option(None, "one form in this process: eager-float32, compiled-bfloat16, ...")
    threads: int | None = option(None, "threads of torch; all cores unless given")


# command: (its options, the module of its work)
COMMANDS: dict[str, tuple[type, str]] = {
    "demo": (DemoOptions, "reparam.cli.demo"),
    "train": (TrainOptions, "reparam.cli.train"),
    "recipes": (RecipesOptions, "reparam.cli.recipes"),
    "resume": (ResumeOptions, "reparam.cli.train"),
    "evaluate": (EvaluateOptions, "reparam.cli.evaluate"),
    "sample": (SampleOptions, "reparam.cli.generate"),
    "encode": (EncodeOptions, "reparam.cli.generate"),
    "decode": (DecodeOptions, "reparam.cli.generate"),
    "reconstruct": (ReconstructOptions, "reparam.cli.generate"),
    "score": (ScoreOptions, "reparam.cli.evaluate"),
    "bench": (BenchOptions, "reparam.cli.bench"),
}
