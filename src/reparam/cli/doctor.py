"""doctor: what is wrong with a model, in order of weight, and what to change."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from reparam.cli.common import check_seed, dataset, opened, prepare, say
from reparam.cli.extras import function, with_factors
from reparam.cli.known import divided, trained_on
from reparam.cli.options import DoctorOptions, TrainOptions
from reparam.cli.train import build
from reparam.data import Dataset, Schema
from reparam.errors import InputError, nearest
from reparam.evaluate import Diagnosis, diagnose, elbo_terms
from reparam.objectives import ELBO
from reparam.report.doctor import write_doctor
from reparam.run import Run
from reparam.train import Progress, fit


def doctor(options: DoctorOptions) -> int:
    """``reparam doctor``."""
    prepare(options.threads)
    seed = check_seed(options.seed)
    betas = _betas(options)
    run, schema = opened(options.run)
    plan = _plan(options, run) if betas else None
    page = _page(options)
    features = None if options.features is None else function(options.features)
    held, train = _data(options, run, schema)
    table = run.config.get("train") or {}
    with Progress(9, "checks") as bar:
        found = diagnose(
            run.vae, held, train=train, history=run.history, objective=table.get("objective"),
            epochs=table.get("epochs"), table=schema.table, rows=options.rows, gap_rows=options.gap_rows, seed=seed,
            factors=None if options.factors is None else held.labels, features=features,
            progress=lambda done, _: bar.update(done),
        )  # fmt: skip
    curve = None
    if plan is not None:
        curve = _sweep(options, plan, train or held, held, betas, schema.exposed)
        if curve is None:
            say("interrupted")
            return 130
        found.pictures["rate_distortion"] = curve
    write_doctor(page, found, f"Doctor's report on {Path(options.run).resolve().name}", run.history,
                 ["rate_distortion"] if curve else [])  # fmt: skip
    _print(options, found, curve)
    say(f"with pictures: {page}")
    return 0


def _print(options: DoctorOptions, found: Diagnosis, curve: dict[str, list[float]] | None) -> None:
    if options.json:
        print(json.dumps(found.to_dict() | ({"sweep": curve} if curve else {})))
        return
    print(found)
    for name, why in found.skipped.items():
        print(f"   not examined: {name.replace('_', ' ')} ({why})")
    if curve:
        print("\n     beta      rate  distortion      ELBO   (nats per held-out datum)")
        for b, r, d in zip(curve["beta"], curve["rate"], curve["distortion"], strict=True):
            print(f"{b:9.3g} {r:9.3f} {d:11.3f} {-d - r:9.3f}")


def _page(options: DoctorOptions) -> Path:
    page = Path(options.out) if options.out else Path(options.run) / "doctor.html"
    if page.suffix.lower() != ".html":
        raise InputError(f"the report is one HTML file: --out ends with .html, not {page.name!r}")
    if not page.parent.is_dir():
        raise InputError(f"no such folder: {page.parent}")
    return page


def _data(options: DoctorOptions, run: Run, schema: Schema) -> tuple[Dataset, Dataset | None]:
    """(data to examine, training data or None): those of DATA, or the rows that training held out."""
    made = (run.config.get("options") or {}) if isinstance(run.config.get("options"), dict) else {}
    if options.data is not None and not ("data" in made and _same(options.data, str(made["data"]))):
        data = dataset(schema, options.data, options.labels, options.binarize)
        return with_factors(data, options.factors, options.data), _seen(made, schema)
    if options.data is not None:
        say("these are the data that the run was trained on: the rows that it held out are examined")
    given = {"labels": options.labels, "binarize": options.binarize}
    try:
        known = trained_on(made | {name: value for name, value in given.items() if value is not None}, schema)
    except (InputError, OSError) as error:
        other = "" if options.data is not None else "; other DATA can be given"
        raise InputError(f"the training data of {options.run}: {error}{other}") from error
    if known is None:
        raise InputError(f"the training data of {options.run} cannot be read again: give DATA")
    train, held = divided(made, schema, with_factors(known, options.factors, str(made["data"])))
    if held is None or len(held) < 20:
        say("the run held out too few rows: the training data themselves are examined, and overfitting cannot be seen")
        return train, None
    return held, train


def _same(one: str, other: str) -> bool:
    return one == other or Path(one).resolve() == Path(other)


def _seen(made: dict[str, Any], schema: Schema) -> Dataset | None:
    """The rows that training saw; None where they are not there any more."""
    try:
        known = trained_on(made, schema)
    except (InputError, OSError):
        return None
    return None if known is None or len(known) < 2 else divided(made, schema, known)[0]


def _betas(options: DoctorOptions) -> list[float]:
    if options.sweep is None:
        if given := next(
            (n for n in ("betas", "sweep_epochs") if getattr(options, n) != getattr(DoctorOptions, n)), None
        ):
            raise InputError(f"--{given.replace('_', '-')} belongs to a sweep: give --sweep beta too")
        return []
    if options.sweep != "beta":
        raise InputError(f"unknown sweep {options.sweep!r}: {nearest(options.sweep, ('beta',))}")
    try:
        betas = [float(word) for word in options.betas.split(",")]
    except ValueError as error:
        raise InputError(f"--betas are numbers with commas between them, not {options.betas!r}") from error
    if not all(0 < b < math.inf for b in betas) or options.sweep_epochs < 1:
        raise InputError("--betas must be above 0 and --sweep-epochs at least 1")
    return betas


def _plan(options: DoctorOptions, run: Run) -> TrainOptions:
    """The options by which the run was trained, for a sweep."""
    made = run.config.get("options")
    if not isinstance(made, dict):
        raise InputError(f"{options.run} was not made by reparam train: its configuration cannot be trained again")
    plan = TrainOptions(**{**made, "out": options.run})
    if plan.recipe is not None or plan.objective != "elbo":
        raise InputError("a sweep over beta trains with the objective elbo, and this run has another")
    return plan


def _sweep(
    options: DoctorOptions, plan: TrainOptions, train: Dataset, held: Dataset, betas: list[float], exposed: bool
) -> dict[str, list[float]] | None:
    """Rate and distortion on held-out rows of models of the run's configuration, trained briefly with each beta."""
    curve: dict[str, list[float]] = {"beta": [], "rate": [], "distortion": []}
    for beta in betas:
        say(f"beta {beta:g}: {options.sweep_epochs} epochs")
        vae, _ = build(replace(plan, beta=beta), train, exposed)
        history = fit(
            vae, train, objective=ELBO(plan.k or 1, beta), epochs=options.sweep_epochs, batch_size=plan.batch_size,
            lr=plan.lr, seed=plan.seed,
        )  # fmt: skip
        if history.stopped == "interrupted":
            return None
        terms = elbo_terms(vae, held[: options.rows], 5, options.seed)
        for name, value in (("beta", beta), ("rate", terms.kl.value), ("distortion", -terms.reconstruction.value)):
            curve[name].append(value)
    return curve
