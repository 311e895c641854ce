"""train and resume: from a file to a run folder with its report."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reparam import recipes, seeding
from reparam.cli import tables
from reparam.cli.common import check_seed, prepare, say
from reparam.cli.evaluate import measure
from reparam.cli.options import ResumeOptions, TrainOptions
from reparam.data import Dataset, Schema, Source, infer, open_source, read, too_large
from reparam.data.counts import TOTAL, Counting
from reparam.data.readers import ENDING as CELLS
from reparam.data.readers import bundled
from reparam.data.table import with_values
from reparam.errors import InputError, RunFolderError, nearest
from reparam.recipes import Recipe
from reparam.report import write_report
from reparam.run import CONFIG, FolderLock, read_config
from reparam.train import Crew, History, checkpoint, device_of, fit, restarted, start, threads_for
from reparam.train.checks import split
from reparam.vae import VAE

_OWN_FILES = (
    "config.toml", "model.safetensors", "schema.json", "history.jsonl", "environment.json", "report.html",
    "doctor.html",
)  # fmt: skip
SWEEP = "sweep.json"  # what a folder of a sweep has in place of a configuration
_OWN_FOLDERS = ("checkpoints", "figures")
# The report's likelihood comes from a few held-out rows, so that it costs seconds; `evaluate` is for all of them.
_REPORT_ROWS, _REPORT_K = 1000, 200
_EPOCHS = 50
_VALIDATION = 0.05  # of the rows, held out


def train(options: TrainOptions) -> int:
    """``reparam train``."""
    prepare(options.threads)
    folder = Path(options.out)
    crew = start(device_of(options.device))
    if restarted() and (folder / CONFIG).exists():  # torchrun has started all processes anew after one was lost
        say("a process was lost: all go on from the last checkpoint")
        return resume(ResumeOptions(run=options.out))
    if crew.first:
        _refuse_folder(folder, options.overwrite)
    options = _streamed(options)
    source = _array(options)
    if source is None:
        return _train_table(options, folder)
    plan, schema, notes = resolve(options, source)

    def accept() -> None:
        if plan.overwrite and folder.exists():
            with FolderLock(folder):  # not from under a run that is still training
                clear(folder)
        for note in notes:
            say(note)

    return _train(plan, source, schema, folder, resume=False, on_start=accept)


def resume(options: ResumeOptions) -> int:
    """``reparam resume``."""
    if (Path(options.run) / SWEEP).exists():
        from reparam.cli import sweep

        return sweep.resume(options)
    if options.trials is not None:
        raise InputError(f"--trials is of a sweep, and {options.run} is a run")
    prepare()
    config = read_config(options.run)
    start(device_of(config.get("options", {}).get("device", "cpu")))
    if "options" not in config:
        raise RunFolderError(
            f"{options.run} was not made by reparam train: resume it from Python with fit(resume=True)"
        )
    try:
        plan = TrainOptions(**{**config["options"], "out": options.run, "overwrite": False})
        schema = Schema.from_json((Path(options.run) / "schema.json").read_text(encoding="utf-8"))
    except OSError as error:
        raise RunFolderError(f"{options.run} has no schema.json to be read: restore it, or train again") from error
    except TypeError as error:
        raise RunFolderError(f"{Path(options.run) / CONFIG} is damaged: {error}") from error
    if not checkpoint.exists(Path(options.run)):
        say("the run has no checkpoint yet: it starts from the beginning")
    if options.epochs is not None:
        plan = replace(plan, epochs=options.epochs)
    if plan.table:
        return _train_table(plan, Path(options.run), resume=True)
    return _train(plan, _source(plan), schema, Path(options.run), resume=True)


def check_readable(options: TrainOptions) -> None:
    """Refuse data that cannot be read.

    Raises:
        InputError: as ``reparam train`` says it.
    """
    if _array(_streamed(options)) is None:
        tables.plan_of(options)


def _array(options: TrainOptions) -> Source | None:
    """The data as numbers, or None for a table that is to be taken as it is: when asked, or where it has text or holes.

    Raises:
        InputError: as the readers do, where the options are of numbers.
    """
    if options.table or options.schema is not None or options.informative:
        return None
    try:
        return _source(options)
    except InputError:
        if tables.takes(options) and not (options.batch or options.layer or options.size_factor):
            return None
        raise


def _train_table(options: TrainOptions, folder: Path, resume: bool = False) -> int:
    """Train on a mixed table."""
    if not Crew.here().alone or options.device not in ("auto", "cpu"):
        raise InputError("mixed tables are trained in one process, on the CPU: leave torchrun and --device out")
    plan, table, frame = tables.resumed(options, folder) if resume else tables.plan_of(options)
    data = table.dataset(frame)

    def accept() -> None:
        if plan.overwrite and folder.exists() and not resume:
            with FolderLock(folder):
                clear(folder)
        say(table.words())

    model = tables.fitted(plan, table, data, folder, resume, accept)
    return _finish(plan, model.vae_, with_values(data), model.history_, Schema.of_table(table), folder)


def _streamed(options: TrainOptions) -> TrainOptions:
    """With ``--stream`` where a file is too large to be read, which is said."""
    if options.stream or options.table or options.schema is not None or context_names(options):
        return options
    why = too_large(options.data)
    if why is None:
        return options
    say(why)
    return replace(options, stream=True)


def _stored(options: TrainOptions) -> Source:
    """The rows left in their file.

    Raises:
        InputError: as ``rp.open`` does; for contexts, which are read as a whole.
    """
    if context_names(options):
        raise InputError("contexts are read as a whole: leave --stream out, or --context and --batch")
    return open_source(options.data, options.buffer, [options.labels] if options.labels else ())


def _source(options: TrainOptions) -> Source:
    """The data of the options.

    Raises:
        InputError: as the readers do; for options of cells where the data are none.
    """
    given = next((n for n in ("batch", "layer", "size_factor") if getattr(options, n) is not None), None)
    if given is not None and not options.data.lower().endswith(CELLS):
        raise InputError(
            f"--{given.replace('_', '-')} is of counts in an {CELLS} file, and DATA is none: for other data give "
            "--context NAME"
        )
    if options.stream and not options.data.lower().endswith(CELLS):
        return _stored(options)
    counting = Counting(options.layer, options.size_factor or TOTAL)
    names = context_names(options)
    return read(options.data, options.labels, names, names if options.recipe in recipes.LABELLED else (), counting)


def context_names(options: TrainOptions) -> list[str]:
    """The names of the contexts, which commas separate, those of batches first."""
    return [name.strip() for names in (options.batch, options.context) if names for name in names.split(",")]


def resolve(options: TrainOptions, source: Source) -> tuple[TrainOptions, Schema, list[str]]:
    """The options with every automatic value decided, the schema of the data, and what to tell the person."""
    chosen = _check_recipe(options)
    share = _VALIDATION if options.validation is None else options.validation
    options = replace(options, **chosen, validation=share)
    posterior, prior = _latents(options)
    schema, likelihood, notes = infer(
        source, options.likelihood, options.binarize, options.pixel_max, options.recipe in recipes.LABELLED
    )
    objective = options.recipe or recipes.objective_name(options.objective, posterior, options.beta)
    if not 0 <= share < 1:
        raise InputError(f"validation must be 0 or a share of the rows below 1, not {share:g}")
    scale = _second(options.scale, likelihood, "scale", recipes.SCALED, schema)
    dispersion = _second(options.dispersion, likelihood, "dispersion", recipes.DISPERSED, schema)
    if options.network != "mlp" and options.hidden is not None:
        raise InputError(f"--hidden is for the network mlp; {options.network} takes --channels")
    if options.network == "mlp" and options.channels is not None:
        raise InputError("--channels is for the network conv; mlp takes --hidden")
    plan = replace(
        options,
        data=options.data if bundled(options.data) else _absolute(options.data),
        labels=_absolute(options.labels) if options.labels and Path(options.labels).exists() else options.labels,
        likelihood=likelihood,
        objective=objective,
        posterior=posterior,
        prior=prior,
        scale=scale,
        dispersion=dispersion,
        hidden=options.hidden if options.hidden is not None or options.network != "mlp" else [400],
        channels=options.channels if options.channels is not None or options.network == "mlp" else [32, 64],
        k=options.k if options.k is not None else recipes.samples_of(objective),
        binarize=schema.binarize,
        pixel_max=schema.pixel_max,
        seed=check_seed(options.seed),
        epochs=_EPOCHS if options.epochs is None else options.epochs,
    )
    return plan, schema, notes


def _second(given: str, likelihood: str, name: str, families: Sequence[str], schema: Schema) -> str:
    """The scale or dispersion, decided where it is auto and the likelihood has one."""
    if likelihood not in families:
        if given != "auto":
            raise InputError(f"the likelihood {likelihood} has no {name}: leave --{name} out, or choose {families[0]}")
        return given
    return given if given != "auto" else "elementwise" if len(schema.event_shape) == 1 else "shared"


def _check_recipe(options: TrainOptions) -> dict[str, Any]:
    """What the recipe, if there is one, chooses itself."""
    if options.recipe is None:
        return {}
    if options.recipe in recipes.LABELLED and len(names := context_names(options)) > 1:
        raise InputError(f"the recipe {options.recipe} is of one label; --context names {len(names)} labels")
    if options.recipe not in recipes.RECIPES:
        raise InputError(f"unknown recipe {options.recipe!r}: {nearest(str(options.recipe), recipes.RECIPES)}")
    own = (options.objective, options.k, options.beta) != ("auto", None, 1.0)
    given = {n: None if (v := getattr(options, n)) == "auto" else v for n in ("posterior", "prior", "likelihood")}
    return dict(recipes.recipe_choices(options.recipe, own, given, "--"))


def _latents(options: TrainOptions) -> tuple[str, str]:
    """The names of posterior and prior, with options that they have."""
    posterior = "diagonal" if options.posterior == "auto" else options.posterior
    prior, _ = recipes.latent_options(
        posterior, None if options.prior == "auto" else options.prior, _given(options),
        taken=("components",),  # whether the likelihood has them is seen when it is known
    )  # fmt: skip
    return posterior, prior


def _given(plan: TrainOptions) -> dict[str, Any]:
    """The options of the latents that were given."""
    return {name: value for name in recipes.OPTIONS if (value := getattr(plan, name)) is not None}


def _absolute(path: str) -> str:
    return str(Path(path).resolve())


def build(plan: TrainOptions, data: Dataset, exposed: bool = False) -> Recipe:
    """The model of these options, with weights that the seed decides, and its objective.

    ``exposed`` says that the last context is a size factor.
    """
    if len(data) < 2:
        raise InputError("training needs at least 2 rows; the data have 1")
    details = _given(plan) | recipes.data_options(
        plan.likelihood, data, _scale(plan.scale), _scale(plan.dispersion), total=plan.total
    )
    details |= {
        "likelihood": plan.likelihood, "posterior": plan.posterior, "network": plan.network,
        "hidden": plan.hidden or [], "channels": plan.channels or [], "activation": plan.activation,
        "residual": plan.residual, "gated": plan.gated, "norm": plan.norm,
    }  # fmt: skip
    if plan.prior != "auto":  # as runs have it that were made before there was a choice
        details["prior"] = plan.prior
    if data.contexts:
        details["context"] = sum(c[0].numel() for c in data.contexts[: -1 if exposed else None])
        details["exposure"] = exposed
    with seeding.seeded(plan.seed):
        if plan.prior == "vamp":
            details["pseudo_inputs"], *contexts = _pseudo_inputs(plan, data)
            details["pseudo_contexts"] = contexts
        if plan.recipe is not None:
            details = {n: v for n, v in details.items() if n not in recipes.CHOICES.get(plan.recipe, {})}
            return recipes.RECIPES[plan.recipe](data.event_shape, plan.latent_dim, **details)
        objective = recipes.objective_of(plan.objective, plan.k, plan.beta)
        return Recipe(recipes.vae(data.event_shape, plan.latent_dim, **details), objective)


def _pseudo_inputs(plan: TrainOptions, data: Dataset) -> list[Tensor]:
    """Rows of the training part, drawn by the seed, as a step reads them, and their contexts."""
    rows = split(data, plan.validation or None, plan.seed)[0]
    count = recipes.OPTIONS["pseudo_inputs"] if plan.pseudo_inputs is None else plan.pseudo_inputs
    if count < 1:
        raise InputError(f"--pseudo-inputs must be at least 1, not {count}")
    like = torch.empty(0)
    chosen = recipes.draw_rows(torch.arange(len(rows)), count, plan.seed)
    return [data.visit(rows.x[chosen], like), *rows.contexts_of(chosen, like)]


def _scale(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def compile_of(text: str) -> str | bool:
    """What ``--compile`` says."""
    choices: dict[str, str | bool] = {"auto": "auto", "true": True, "false": False}
    found = choices.get(text.lower())
    if found is None:
        raise InputError(f"--compile is auto, true or false, not {text!r}")
    return found


def _train(
    plan: TrainOptions,
    source: Source,
    schema: Schema,
    folder: Path,
    resume: bool,
    on_start: Callable[[], None] | None = None,
) -> int:
    data = schema.dataset(source)
    vae, objective = build(plan, data, schema.exposed)
    vae.to(device_of(plan.device))
    plan = replace(plan, threads=plan.threads or threads_for(vae, plan.batch_size))
    torch.set_num_threads(plan.threads or 1)
    share = plan.validation or None
    history = fit(
        vae, data, objective=objective, epochs=plan.epochs or 0, batch_size=plan.batch_size, lr=plan.lr, seed=plan.seed,
        validation=share, patience=plan.patience if share else None, compile=compile_of(plan.compile),
        precision=plan.precision, optimizer=plan.optimizer, clip=plan.clip, accumulate=plan.accumulate, ema=plan.ema,
        out=folder, resume=resume, schema=schema, config={"options": asdict(plan)}, progress=True, on_start=on_start,
        retries=plan.retries, checkpoint_seconds=plan.checkpoint_seconds,
    )  # fmt: skip
    return _finish(plan, vae.cpu(), data, history, schema, folder)


def _finish(plan: TrainOptions, vae: VAE, data: Dataset, history: History, schema: Schema, folder: Path) -> int:
    """The report of a run that came to its end, by the first process; the exit status."""
    if not Crew.here().first:
        return 130 if history.stopped == "interrupted" else 0
    if history.stopped == "interrupted":
        say(f"interrupted; {folder} holds the best weights so far; go on with: reparam resume {folder}")
        return 130
    held = split(data, plan.validation or None, plan.seed)[1] or data
    evaluation = measure(vae, held.near(slice(_REPORT_ROWS)), schema, _REPORT_K, "auto", plan.seed)
    finish(folder, vae, held, history, schema, {**evaluation, "data": _held_words(plan, len(held))})
    say(f"next: reparam evaluate {folder} TEST_DATA")
    return 0


def _held_words(plan: TrainOptions, rows: int) -> str:
    first = "" if rows <= _REPORT_ROWS else f"the first {_REPORT_ROWS} of "
    return f"{first}{rows} rows held out of training" if plan.validation else f"{first}the {rows} training rows"


def finish(folder: Path, vae: VAE, data: Dataset, history: History, schema: Schema, evaluation: dict[str, Any]) -> None:
    """Say how training ended and write the report."""
    report = write_report(
        folder, vae, data, history=history, config=read_config(folder), schema=schema, evaluation=evaluation
    )
    last = history.best or {}
    value = last.get("validation_objective", last.get("train_objective"))
    ended = {"finished": "trained", "early": "stopped early after"}.get(history.stopped, history.stopped)
    say(f"{ended} {len(history)} epochs; best epoch {history.best_epoch}: objective {value:.2f} nats per datum")
    bound, error = evaluation["log_likelihood"], evaluation["stderr"]
    shown = f"{bound:.2f} ± {error:.2f}" if math.isfinite(error) else f"{bound:.2f}"
    say(f"log-likelihood on {evaluation['data']}: {shown} nats (k = {evaluation['k']})")
    say(f"report: {next((p for p in report if p.suffix == '.html'), folder / 'report.html')}")


def _refuse_folder(folder: Path, overwrite: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file: --out is a folder")
    if not folder.exists() or not any(folder.iterdir()):
        return
    if not (folder / CONFIG).exists():
        raise InputError(f"{folder} holds other files: choose a new folder for --out")
    if not overwrite:
        raise InputError(f"{folder} holds a run already: choose another --out, resume it, or give --overwrite")


def clear(folder: Path) -> None:
    """Remove the files of an earlier run; refuse a folder that holds anything else."""
    names = [p.name for p in folder.iterdir()] if folder.exists() else []
    foreign = [n for n in names if n not in (*_OWN_FILES, *_OWN_FOLDERS)]
    if foreign:
        raise InputError(f"{folder} also holds {foreign[0]!r}, which is not of a run: choose another --out")
    for name in names:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
