"""What the command does with mixed tables: schema, train, sample and impute on them."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from reparam.cli.common import check_seed, opened, prepare, say, writable
from reparam.cli.options import (
    DecodeOptions,
    ImputeOptions,
    ReconstructOptions,
    SampleOptions,
    SchemaOptions,
    TrainOptions,
)
from reparam.data import Dataset, Schema
from reparam.data.frame_files import PieceWriter, frame_bytes, is_table, read_frame
from reparam.data.streams import is_large, look, pieces, spill
from reparam.data.table import TableSchema, with_values
from reparam.errors import InputError, require
from reparam.estimators.parameters import held_share
from reparam.run import SCHEMA, Run, atomic_write
from reparam.run.folder import write_config

FRAMES = (".csv", ".tsv", ".parquet")
# Options that a mixed table has no use for, with what they are unless given.
_UNUSED = {
    "recipe": None, "binarize": None, "pixel_max": None, "likelihood": "auto", "scale": "auto", "dispersion": "auto",
    "components": None, "posterior": "auto", "prior": "auto", "rank": None, "pseudo_inputs": None, "transforms": None,
    "flow_kind": None, "concentration": None, "network": "mlp", "residual": False, "gated": False, "norm": None,
    "channels": None, "beta": 1.0,
}  # fmt: skip
_K = 20


def takes(options: TrainOptions) -> bool:
    """Whether a file is trained on as a mixed table: where it is one, and nothing was asked for that these lack."""
    return is_table(options.data) and all(getattr(options, name) == usual for name, usual in _UNUSED.items())


def schema(options: SchemaOptions) -> int:
    """``reparam schema``."""
    prepare()
    found = _schema_of(read_frame(options.data), options.group, options.informative)
    if options.out is not None:
        path = writable(options.out, (".json",))
        atomic_write(path, found.to_json())
        say(f"the schema of {len(found.columns)} columns in {path}: correct it, and train with --schema {path}")
    elif options.json:
        print(found.to_json(), end="")
    else:
        print(found.words())
    return 0


def _schema_of(frame: Any, group: str | None, informative: bool) -> TableSchema:
    return TableSchema.of(frame, group=group, informative=informative)


def plan_of(options: TrainOptions) -> tuple[TrainOptions, TableSchema, Any]:
    """The options with every automatic value decided, the schema, and the table.

    Raises:
        InputError: for an option that mixed tables lack, or a table that cannot be used.
    """
    given = next((name for name, usual in _UNUSED.items() if getattr(options, name) != usual), None)
    if given is not None:
        raise InputError(
            f"a mixed table decides its own likelihoods and networks: leave out --{given.replace('_', '-')}"
        )
    if options.objective not in ("auto", "iwae"):
        raise InputError("mixed tables are trained by iwae, with --k samples: leave --objective out")
    if options.context and "," in options.context:
        raise InputError("a mixed table has one column as context, its group: give --context one name")
    frame = look(options.data, seed=options.seed) if is_large(options.data) else read_frame(options.data)
    if options.labels is not None:
        if options.labels not in frame.columns:
            raise InputError(f"{options.data} has no column {options.labels!r} to leave out as label")
        frame = frame.drop(columns=options.labels)
    if options.schema is None:
        found = _schema_of(frame, options.context, options.informative)
    else:
        try:
            found = TableSchema.from_json(Path(options.schema).read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(f"{options.schema} cannot be read: {error.strerror or error}") from error
    share = options.validation
    if share is not None and not 0 <= share < 1:
        raise InputError(f"validation must be 0 or a share of the rows below 1, not {share:g}")
    plan = replace(
        options, table=True, data=str(Path(options.data).resolve()), likelihood="mixed", objective="iwae",
        posterior="diagonal", prior="standard_normal", k=options.k or _K,
        schema=None if options.schema is None else str(Path(options.schema).resolve()),
        seed=check_seed(options.seed), threads=options.threads or 1,
        validation=held_share(len(frame)) if share is None else share,
    )  # fmt: skip
    return plan, found, frame


def resumed(plan: TrainOptions, folder: Path) -> tuple[TrainOptions, TableSchema, Any]:
    """The options, the schema and the table of a run that goes on.

    Raises:
        InputError: if the run has no schema of a table.
    """
    found = Schema.from_json((folder / SCHEMA).read_text(encoding="utf-8")).table
    if found is None:
        raise InputError(f"{folder} was trained on a table, and its schema is of none: restore it, or train again")
    return plan, found, look(plan.data, seed=plan.seed) if is_large(plan.data) else read_frame(plan.data)


def fitted(
    plan: TrainOptions, table: TableSchema, data: Dataset, folder: Path, resume: bool, start: Callable[[], None] | None
) -> Any:
    """The model of a mixed table, trained into the folder."""
    from reparam.estimators.tabular import TabularVAE

    torch.set_num_threads(plan.threads or 1)
    model = TabularVAE(
        plan.latent_dim, hidden=plan.hidden, activation=plan.activation, train_k=plan.k or _K,
        epochs=plan.epochs, batch_size=plan.batch_size, lr=plan.lr, validation=plan.validation,
        patience=plan.patience, random_state=plan.seed, verbose=True,
    )  # fmt: skip
    rows = int(with_values(data).x.shape[0])
    config = {"options": asdict(replace(plan, epochs=model.epochs_for(rows))), **model.kept()}
    more: dict[str, Any] = {
        "out": folder, "resume": resume, "config": config, "on_start": start, "retries": plan.retries,
        "checkpoint_seconds": plan.checkpoint_seconds,
    }  # fmt: skip
    if is_large(plan.data):
        with TemporaryDirectory(prefix="reparam-") as folder_of_rows:
            spilled = spill(plan.data, table, Path(folder_of_rows), plan.validation or 0.0, plan.seed)
            if spilled.unseen:
                say(f"{spilled.unseen} cells have categories that a look at part of the rows did not meet: missing")
            model.fit_dataset(table, spilled.train, held=spilled.held, **more)
    else:
        model.fit_dataset(table, data, **more)
    write_config(model.vae_, folder, {**config, **model.kept()}, Schema.of_table(table))
    return model


def mixed(run: Run, schema: Schema) -> Any:
    """The estimator of a run on a mixed table."""
    from reparam.estimators.tabular import TabularVAE

    assert schema.table is not None
    return TabularVAE.of_run(run)


def sample(options: SampleOptions, run: Run, schema: Schema) -> int:
    """``reparam sample`` of a mixed table."""
    path = writable(options.out, FRAMES)
    if options.mean:
        raise InputError("rows of a mixed table are drawn, as a mean of categories is none: leave --mean out")
    model = mixed(run, schema)
    found, quality = model.sample(
        options.n, _asked(options.given), random_state=check_seed(options.seed), with_quality=True
    )
    write_frame(path, found)
    worth = f"; {quality.candidates} candidates were worth {quality.ess:.0f} draws" if options.given else ""
    say(f"{options.n} rows in {path}{worth}")
    return 0


def decode(options: DecodeOptions, run: Run, schema: Schema, latents: Any) -> int:
    """``reparam decode`` to a mixed table: means, medians and most probable categories, or draws."""
    path = writable(options.out, FRAMES)
    model = mixed(run, schema).set_params(random_state=check_seed(options.seed))
    if getattr(latents, "ndim", 0) != 2 or latents.dtype.kind not in "biuf":
        raise InputError(f"{options.latents} holds no rows of numbers: decode takes what encode writes")
    group = _group_asked(options.given, schema)
    write_frame(path, model.inverse_transform(latents, group=group, sample=options.sample))
    say(f"{len(latents)} decoded in {path}")
    return 0


def reconstruct(options: ReconstructOptions, run: Run, schema: Schema) -> int:
    """``reparam reconstruct`` of a mixed table."""
    path = writable(options.out, FRAMES)
    model = mixed(run, schema).set_params(random_state=check_seed(options.seed))
    group = _group_asked(options.given, schema)
    if is_large(options.data):
        rows = by_pieces(options.data, path, lambda t: model.reconstruct(t, group=group))
    else:
        frame = read_frame(options.data)
        rows = len(frame)
        write_frame(path, model.reconstruct(frame, group=group))
    say(f"{rows} reconstructions in {path}: means of numbers, medians of grades, most probable categories")
    return 0


def _group_asked(text: str | None, schema: Schema) -> Any:
    """The group that --given names; of other columns nothing can be given where z is.

    Raises:
        InputError: for another column.
    """
    asked, column = _asked(text) or {}, schema.table.group if schema.table else None
    other = next((name for name in asked if column is None or name != column.name), None)
    if other is not None:
        has = f"its group {column.name!r} alone" if column else "nothing, as the model has no group"
        raise InputError(f"--given {other!r}: given z, the rows of this table are given {has}; see sample --given")
    return next(iter(asked.values()), None)


def impute(options: ImputeOptions) -> int:
    """``reparam impute``."""
    prepare()
    path = writable(options.out, FRAMES)
    run, schema = opened(options.run)
    if schema.table is None:
        raise InputError(f"{options.run} is a model of whole data: train with --table to impute")
    model = mixed(run, schema).set_params(k=options.k, random_state=check_seed(options.seed))
    if is_large(options.data) and not options.intervals and options.m is None:
        say(f"{by_pieces(options.data, path, model.impute)} rows in {path}")
        return 0
    frame = read_frame(options.data)
    if options.intervals:
        write_frame(path, model.impute_intervals(frame))
        say(f"what is imputed, with intervals of 95%, in {path}")
        return 0
    if options.m is None:
        write_frame(path, model.impute(frame))
        say(f"{len(frame)} rows in {path}: posterior means of numbers, medians of grades, most probable categories")
        return 0
    tables = [t.assign(imputation=i + 1) for i, t in enumerate(model.impute(frame, m=options.m))]
    pandas = require("pandas", "tabular", "writing tables")
    write_frame(path, pandas.concat(tables, ignore_index=True))
    say(f"{options.m} imputations of {len(frame)} rows in {path}, told apart by the column 'imputation'")
    return 0


def by_pieces(data: str, path: Path, make: Callable[[Any], Any]) -> int:
    """Write what is made of each piece of a large Parquet file, one behind the other; the number of rows."""
    rows, temporary = 0, path.with_name(f".{path.name}.part")
    try:
        with PieceWriter(temporary, path.suffix.lower()) as writer:
            for piece in pieces(data):
                writer.add(make(piece))
                rows += len(piece)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return rows


def scores(model: Any, frame: Any) -> Any:
    """A table of log p of what is seen of each row, and the effective sample size of its estimate."""
    pandas, found = require("pandas", "tabular", "writing tables"), model.log_likelihood(frame)
    return pandas.DataFrame({"log_likelihood": found.per_datum.numpy(), "ess": found.ess.numpy()})


def write_frame(path: Path, frame: Any) -> None:
    """The frame as the ending of the file says, whole or not at all."""
    atomic_write(path, frame_bytes(frame, path.suffix.lower()))


def _asked(text: str | None) -> dict[str, Any] | None:
    """Conditions from sex=F,age=30..40,city=Lyon|Bonn.

    Raises:
        InputError: for a part without a name.
    """
    if text is None:
        return None
    asked: dict[str, Any] = {}
    for part in text.split(","):
        name, equals, value = (t.strip() for t in part.partition("="))
        if not equals or not name or not value:
            raise InputError(f"--given {text!r}: write conditions as sex=F,age=30..40,city=Lyon|Bonn")
        low, dots, high = value.partition("..")
        asked[name] = (low or None, high or None) if dots else value.split("|") if "|" in value else value
    return asked
