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


_DATA = ".npy .npz .csv .tsv .parquet .h5ad, an idx file (.gz too), a folder of images, .tar shards, or: digits"
_RUN = "the folder of a trained model"
_LIKELIHOOD = (  # data.schema.LIKELIHOODS, which would import numpy and torch for a line of help
    "auto (reads the data and says why), bernoulli, continuous_bernoulli, discretized_logistic, "
    "discretized_logistic_mixture, gaussian, laplace, student_t, log_normal, beta, poisson, negative_binomial, "
    "zero_inflated_poisson, zero_inflated_negative_binomial, binomial, multinomial, categorical or ordinal"
)
_GIVEN = (
    "the contexts of a conditional model: batch=a,dose=0.5; of a table, conditions: sex=F,age=30..40,city=Lyon|Bonn"
)
_LABELS = "a column to leave out as label, or a file of one label for each row"
_SEED = "decides all randomness: 0 to 2**32 - 1"
_OUT = "where to: .npy .npz .csv .parquet"
_OUT_PICTURE = _OUT + ", or .png for a grid of images"
_LIKELIHOODS, _LATENTS = "likelihood p(x|z)", "latents: posterior q(z|x) and prior p(z)"


@dataclass(kw_only=True)
class TrainOptions:
    """Train a model on your data and leave a run folder with its report."""

    data: str = required(_DATA, positional=True)
    out: str = required("the run folder to make")
    overwrite: bool = option(False, "replace a run that is in the folder already")
    recipe: str | None = option(None, "a model of a paper with its objective, from: reparam recipes")

    labels: str | None = option(
        None, "a file with a label for each row, or a column to leave out as label", group="data"
    )
    context: str | None = option(
        None, "columns or arrays that the model is conditional on: batch,dose; or: labels", group="data"
    )
    batch: str | None = option(
        None,
        "of counts in .h5ad: the column of obs that codes should be free of, a context; or batch,donor",
        group="data",
    )
    layer: str | None = option(None, "of counts in .h5ad: the layer that holds them; X unless given", group="data")
    size_factor: str | None = option(
        None, "of counts in .h5ad: total (each cell's sum, unless given), a column of obs, or none", group="data"
    )
    binarize: str | None = option(
        None, "grey values to 0 and 1: dynamic (a fresh draw at each visit) or threshold", group="data"
    )
    pixel_max: float | None = option(None, "the value of white, where grey values are whole numbers", group="data")

    stream: bool = option(
        False,
        "leave rows in their file and read them when they are needed: .npy, idx, .parquet, .tar, folders of images or "
        "of .tar; so of itself where a file is larger than 0.3 of memory",
        group="data",
    )
    buffer: float = option(256.0, "megabytes of rows that --stream mixes with each other; it holds two", group="data")

    table: bool = option(
        False, "train on a table as it is, each column of its kind; always so where it has text or holes", group="data"
    )
    schema: str | None = option(None, "what a table's columns hold, a corrected file of reparam schema", group="data")
    informative: bool = option(
        False, "of a table with holes: which cells are missing tells of them, and is modelled", group="data"
    )

    likelihood: str = option("auto", _LIKELIHOOD, group=_LIKELIHOODS)
    scale: str = option(
        "auto", "of real data or grey levels: a number, shared, elementwise or predicted", group=_LIKELIHOODS
    )
    dispersion: str = option(
        "auto", "theta of negative_binomial: a number, shared, elementwise or predicted", group=_LIKELIHOODS
    )
    components: int | None = option(
        None, "of discretized_logistic_mixture (5 unless given), and of the prior mixture", group=_LIKELIHOODS
    )

    total: int | None = option(
        None, "trials of binomial (the largest count unless given), or draws of multinomial", group=_LIKELIHOODS
    )

    latent_dim: int = option(10, "dimensions of the latent space; 2 can be drawn as a map", group=_LATENTS)
    posterior: str = option(
        "auto",
        "diagonal (what auto is), full, lowrank, laplace, flow, logistic_normal, dirichlet, gamma, vmf, "
        "categorical, bernoulli or point (a plain autoencoder)",
        group=_LATENTS,
    )
    prior: str = option(
        "auto",
        "standard_normal, mixture, vamp, flow, dirichlet, gamma, sphere_uniform, categorical, bernoulli or "
        "autoregressive; auto fits the posterior",
        group=_LATENTS,
    )
    rank: int | None = option(None, "columns of the factor of lowrank: 2 unless given", group=_LATENTS)
    pseudo_inputs: int | None = option(
        None, "of the prior vamp, from rows drawn by the seed: 500 unless given", group=_LATENTS
    )
    transforms: int | None = option(None, "maps of a flow: 2 unless given", group=_LATENTS)
    flow_kind: str | None = option(None, "affine (unless given) or spline", group=_LATENTS)
    concentration: float | None = option(None, "of the priors dirichlet and gamma: 1 unless given", group=_LATENTS)
    latent_classes: int | None = option(
        None, "of categorical latents, one-hot vectors of so many numbers: latent_dim unless given", group=_LATENTS
    )
    gradient: str | None = option(
        None, "of categorical and bernoulli: gumbel (unless given), score or enumerate", group=_LATENTS
    )

    network: str = option("mlp", "mlp, conv, or resnet (conv with residual stages)", group="networks")
    residual: bool = option(False, "add the input of each hidden layer to its output", group="networks")
    gated: bool = option(False, "gates in place of activations", group="networks")
    norm: str | None = option(None, "normalise hidden layers: layer for mlp, group for conv", group="networks")
    hidden: list[int] | None = option(
        None, "sizes of the hidden layers of mlp: 400,200; 400 unless given", group="networks"
    )
    channels: list[int] | None = option(None, "channels of the stages of conv: 32,64 unless given", group="networks")
    activation: str = option("relu", "relu, tanh, silu, gelu, elu or softplus", group="networks")

    objective: str = option(
        "auto", "elbo, iwae or reconstruction; auto is elbo, or reconstruction for point", group="objective"
    )
    k: int | None = option(None, "samples of z in the objective: 1, or 5 for iwae, unless given", group="objective")
    beta: float = option(1.0, "the weight of the KL in elbo; at 1 it is the evidence lower bound", group="objective")

    epochs: int | None = option(
        None, "passes over the data, at most: 50 unless given, or about 4000 steps for a table", group="training"
    )
    batch_size: int = option(128, "rows in a step", group="training")
    lr: float = option(1e-3, "learning rate", group="training")
    optimizer: str = option("adam", "adam, adamw, adamax, nadam, radam, rmsprop, adagrad or sgd", group="training")
    clip: float | None = option(None, "the largest norm of the gradient; unlimited unless given", group="training")
    accumulate: int = option(1, "batches for one step, taken one after the other", group="training")
    ema: float | None = option(
        None, "decay of an average of the weights, such as 0.999, to be validated and kept", group="training"
    )
    compile: str = option(
        "auto", "auto (where the run is long enough), true or false: one compiled graph for a step", group="training"
    )
    precision: str = option(
        "auto", "of matrix products: auto, float32, bfloat16 (where hardware has it) or float64", group="training"
    )
    validation: float | None = option(
        None,
        "share of the rows held out to choose the best epoch, 0 for none: 0.05 unless given; of mixed tables 0.1, and "
        "none of fewer than 2000 rows",
        group="training",
    )
    patience: int = option(10, "stop after so many epochs without a better validation objective", group="training")
    seed: int = option(0, _SEED, group="training")
    threads: int | None = option(
        None, "threads of torch; unless given all cores, or one if the model is small", group="training"
    )
    device: str = option("auto", "cpu, cuda, or auto: CUDA where it is there", group="training")
    retries: int = option(
        0, "how often to go back and on at half the learning rate after a step that is not finite", group="training"
    )
    checkpoint_seconds: float = option(
        60.0, "how often the state of the run is written, in the background", group="training"
    )


@dataclass(kw_only=True)
class SweepOptions(TrainOptions):
    """Train with many values of the options, and choose by the likelihood of held-out rows."""

    over: str = required(
        "the options that are varied, ranges or choices: lr=1e-4..1e-2,latent-dim=2..50,posterior=diagonal|full",
        group="sweep",
    )
    trials: int | None = option(
        None, "how many: all combinations if they are at most 64, else 20, unless given", group="sweep"
    )
    jobs: int = option(1, "how many at a time, with an equal share of the cores each", group="sweep")
    samples: int = option(500, "samples of z for log p(x) of each held-out row", group="sweep")


@dataclass(kw_only=True)
class _Run:
    run: str = required(_RUN, positional=True)


@dataclass(kw_only=True)
class _Drawn(_Run):
    seed: int = option(0, _SEED)


@dataclass(kw_only=True)
class RowsOptions(_Drawn):
    """What the commands that read rows of data by a run have in common."""

    data: str = required(_DATA, positional=True)
    binarize: str | None = option(None, "dynamic or threshold; as in training unless given")
    labels: str | None = option(None, _LABELS)


@dataclass(kw_only=True)
class _Scored(RowsOptions):
    k: int | None = option(None, "samples of z for each row: 5000 unless given, or 16 chains for ais")
    method: str = option("auto", "importance, mixture, prior, ais or exact; auto is importance, or prior for point")
    refine: int = option(0, "steps by which q(z|x) of each row is improved before it proposes samples")


@dataclass(kw_only=True)
class ResumeOptions(_Run):
    """Go on with a run that was interrupted or killed: the same bits as if it had not been."""

    epochs: int | None = option(None, "a new number of epochs in all")
    trials: int | None = option(None, "of a sweep, a new number of trials in all")


@dataclass(kw_only=True)
class EvaluateOptions(_Scored):
    """Say how good a model is on data: bound, its terms, and log-likelihood, in nats per datum."""

    repeats: int = option(1, "independent estimates to average, whose spread is the error of the sampling alone")
    curve: bool = option(False, "add the importance-weighted bound for 1, 10, 100, ... samples, up to k")
    precision: str = option(
        "auto",
        "float32, or bfloat16, which is faster where the processor has its products, and moves a row's "
        "log p(x) by some 0.03 nats; auto is that of the model",
    )
    json: bool = option(False, "print one JSON object")
    threads: int | None = option(None, "threads of torch; all cores unless given")


@dataclass(kw_only=True)
class SampleOptions(_Drawn):
    """Draw data from the model: z from the prior, then x from p(x|z)."""

    out: str = required(_OUT_PICTURE)
    n: int = option(64, "how many", short="-n")
    mean: bool = option(False, "give the mean of p(x|z) instead of a draw from it")
    given: str | None = option(None, _GIVEN)


@dataclass(kw_only=True)
class EncodeOptions(RowsOptions):
    """Write the mean of q(z|x) of each row: its place in the latent space."""

    out: str = required(_OUT + ", or of cells .h5ad: a copy of DATA with obsm['X_reparam']")


@dataclass(kw_only=True)
class DecodeOptions(_Drawn):
    """Write the mean of p(x|z) for each row of latents."""

    latents: str = required("an array (rows, latent dimensions): .npy .npz .csv .parquet", positional=True)
    out: str = required(_OUT_PICTURE)
    sample: bool = option(False, "draw from p(x|z) instead of giving its mean")
    given: str | None = option(None, _GIVEN)


@dataclass(kw_only=True)
class ReconstructOptions(RowsOptions):
    """Write what the model makes of each row: the mean of p(x|z) at the mean of q(z|x)."""

    out: str = required(
        _OUT_PICTURE + ", or of cells .h5ad: a copy of DATA with layers['reparam'], the expression of a usual library"
    )
    given: str | None = option(None, _GIVEN + "; decode with these instead of each row's own")


@dataclass(kw_only=True)
class ScoreOptions(_Scored):
    """Write log p(x) of each row, in nats, with the effective sample size of its estimate."""

    out: str = required("where to: .npy (scores alone) .npz .csv .parquet")


@dataclass(kw_only=True)
class ImputeOptions(_Drawn):
    """Fill the holes of a table: by means and most probable categories, or by several draws."""

    data: str = required("a table: .csv .tsv .parquet", positional=True)
    out: str = required("where to: .csv .tsv .parquet")
    m: int | None = option(None, "multiple imputations: so many draws of each missing cell", short="-m")
    k: int = option(500, "samples of z for each row")
    intervals: bool = option(False, "write each missing cell with its interval or probability instead of the table")


@dataclass(kw_only=True)
class SchemaOptions:
    """Say what the columns of a table hold, as train would take them."""

    data: str = required("a table: .csv .tsv .parquet", positional=True)
    out: str | None = option(None, "a .json file, to be corrected and given to train --schema")
    group: str | None = option(None, "a column that is a condition, such as a batch or a site")
    informative: bool = option(False, "which cells are missing tells of them")
    json: bool = option(False, "print JSON")


@dataclass
class RecipesOptions:
    """List the models of papers that train --recipe NAME takes, one line each."""


@dataclass
class DemoOptions:
    """Train on the bundled digits, evaluate, and write pictures and a report: under a minute."""

    out: str = option("demo", "the run folder to make, or to make anew")
    seed: int = option(0, _SEED)


@dataclass
class DoctorOptions:
    """Say what is wrong with a model, in order of weight, how sure it is, and what to change."""

    run: str = required(_RUN, positional=True)
    data: str | None = option(None, _DATA + "; the rows that training held out unless given", positional=True)
    rows: int = option(1000, "how many rows are examined, chosen by the seed")
    gap_rows: int = option(100, "for how many of them the best q is searched, the slow part")
    sweep: str | None = option(None, "beta: train the run's configuration briefly at several betas, for the curve")
    betas: str = option("0.1,0.3,1,3,10", "the values of a sweep over beta")
    sweep_epochs: int = option(10, "epochs of each training of a sweep")
    factors: str | None = option(
        None, "known causes of the data, for scores of disentanglement: a file with a row for each, or: labels"
    )
    features: str | None = option(
        None,
        "where samples are compared, a function from a tensor of data to one of features: module:name or file.py:name",
    )
    out: str | None = option(None, "the report with pictures, an .html file; doctor.html in the run unless given")
    binarize: str | None = option(None, "dynamic or threshold; as in training unless given")
    labels: str | None = option(None, _LABELS)
    seed: int = option(0, _SEED)
    json: bool = option(False, "print one JSON object")
    threads: int | None = option(None, "threads of torch; all cores unless given")


@dataclass(kw_only=True)
class ExploreOptions(_Run):
    """Walk in the latent space: a page in the browser, served from here or written as one file."""

    data: str | None = option(None, _DATA + "; those of the training unless given", positional=True)
    html: str | None = option(None, "write one file that anyone can open, instead of serving the page")
    rows: int | None = option(
        None, "how many rows are shown, evenly spaced: 5000 in a file, 50000 served, unless given"
    )
    binarize: str | None = option(None, "dynamic or threshold; as in training unless given")
    labels: str | None = option(None, "a column or a file of labels, as in training unless given")
    umap: bool = option(False, "a UMAP of the codes too, among the axes of the map; needs umap-learn")
    no_doctor: bool = option(False, "leave the doctor's examination out, which takes the most time")
    host: str = option("127.0.0.1", "the address to serve at; beyond this machine it needs --token")
    port: int = option(0, "the port to serve at; any that is free unless given")
    token: str | None = option(None, "what the address must hold, at least 16 characters; drawn at random unless given")
    open: bool = option(False, "open the page in the browser")
    seed: int = option(0, _SEED)
    threads: int | None = option(None, "threads of torch; all cores unless given")


@dataclass(kw_only=True)
class ServeOptions(_Run):
    """Answer over HTTP: encode, decode, score, sample and impute, in JSON and .npy, with an OpenAPI description."""

    host: str = option("127.0.0.1", "the address to serve at; beyond this machine it needs --token")
    port: int = option(8000, "the port to serve at; 0 for any that is free")
    token: str | None = option(
        None, "what requests must know, at least 16 characters, better as REPARAM_TOKEN; drawn at random unless given"
    )
    threads: int | None = option(None, "threads of torch; all cores unless given")


@dataclass(kw_only=True)
class ExportOptions(_Run):
    """Hand a model on: as ONNX with an example that runs without reparam, or as the folder of a hub with its card."""

    data: str | None = option(None, _DATA + "; rows that training did not see, for the card's numbers", positional=True)
    onnx: str | None = option(None, "the folder to write encoder, decoder, schema and example to")
    card: str | None = option(None, "the folder to write model, README with its numbers, and figures to")
    license: str | None = option(None, "the licence that the card names, such as apache-2.0")
    k: int | None = option(None, "samples of z for each row in the card's log-likelihood: 5000 unless given")
    seed: int = option(0, _SEED)
    threads: int | None = option(None, "threads of torch; all cores unless given")


@dataclass
class BenchOptions:
    """Time the library on this machine, beside loops written by hand and other libraries that are installed."""

    json: bool = option(False, "print one JSON object")
    quick: bool = option(False, "one case and two rounds: whether it runs, not how fast")
    cases: str | None = option(None, "mlp-128, mlp-1024, conv-28, conv-64, iwae-50, importance, process; or all")
    rounds: int | None = option(None, "alternating rounds of which medians are taken: 7, or 2 if quick")
    form: str | None = option(None, "one form in this process: eager-float32, compiled-bfloat16, ...")
    threads: int | None = option(None, "threads of torch; all cores unless given")
    growth: bool = option(False, "how the cost grows with rows, dimensions, samples, batch and processes instead")


# command: (its options, the module of its work)
COMMANDS: dict[str, tuple[type, str]] = {
    "demo": (DemoOptions, "reparam.cli.demo"),
    "train": (TrainOptions, "reparam.cli.train"),
    "recipes": (RecipesOptions, "reparam.cli.recipes"),
    "sweep": (SweepOptions, "reparam.cli.sweep"),
    "resume": (ResumeOptions, "reparam.cli.train"),
    "evaluate": (EvaluateOptions, "reparam.cli.evaluate"),
    "doctor": (DoctorOptions, "reparam.cli.doctor"),
    "explore": (ExploreOptions, "reparam.cli.explore"),
    "serve": (ServeOptions, "reparam.cli.serve"),
    "export": (ExportOptions, "reparam.cli.export"),
    "sample": (SampleOptions, "reparam.cli.generate"),
    "encode": (EncodeOptions, "reparam.cli.generate"),
    "decode": (DecodeOptions, "reparam.cli.generate"),
    "reconstruct": (ReconstructOptions, "reparam.cli.generate"),
    "score": (ScoreOptions, "reparam.cli.evaluate"),
    "bench": (BenchOptions, "reparam.cli.bench"),
    "impute": (ImputeOptions, "reparam.cli.tables"),
    "schema": (SchemaOptions, "reparam.cli.tables"),
}
