"""What the page knows of a run and its data: the points, their scores, the doctor's findings, and words."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from reparam import likelihoods
from reparam.data import Dataset, Schema
from reparam.data.columns import Column
from reparam.data.table import TableSchema
from reparam.errors import InputError
from reparam.evaluate import Estimate, diagnose, elbo_terms, encode, log_likelihood
from reparam.evaluate.diagnosis import codes
from reparam.evaluate.draws import batches, evaluating, rows_per_call
from reparam.explorer import heads, projection
from reparam.explorer.bundle import document, pack
from reparam.explorer.program import NotInThePageError, Weights
from reparam.networks.convolution import image_layout
from reparam.posteriors import Point
from reparam.report.words import Facts, model_rows, training_rows
from reparam.run import Run
from reparam.vae import VAE, reference
from reparam.version import __version__

_NUMBERS, _LEAST = 50_000_000, 100  # of all rows that are shown, as numbers; rows that are shown whatever their size
_DRAWS = 150_000  # draws of z in all, for log p(x) of the points
_CODES = 1_000  # rows by which the dimensions are judged
_GROUPS = 12  # labels that have a colour of their own
_TABLE = 60  # more columns than these are a line

Say = Callable[[str], None]


@dataclass(frozen=True)
class View:
    """A run and rows of data, as the page shows them: a table of plain data, and arrays of one entry a row."""

    vae: VAE
    data: Dataset
    schema: Schema
    name: str
    meta: dict[str, Any]
    arrays: dict[str, np.ndarray]


def look(
    run: Run, schema: Schema, data: Dataset, *, rows: int, name: str, seed: int = 0, doctor: bool = True,
    umap: bool = False, say: Say = lambda text: None,
) -> View:  # fmt: skip
    """Everything about the run that needs its data: up to ``rows`` rows, evenly spaced, are shown.

    With ``umap`` the map has a UMAP of the codes beside their dimensions and principal components.

    Raises:
        InputError: for data that the model cannot explain, or a latent space without dimensions.
        MissingExtraError: for ``umap`` without umap-learn.
    """
    if umap:
        projection.umap_learn()  # before the work
    most = max(_LEAST, _NUMBERS // max(1, math.prod(data.event_shape)))
    if min(len(data), rows) > most:
        say(f"{most:,} rows are shown, as a row has {math.prod(data.event_shape):,} numbers")
    at = _spread(len(data), min(rows, most))
    shown = data[at].dense()
    say(f"encoding {len(shown):,} rows")
    means = encode(run.vae, shown, seed).double().cpu().numpy()
    arrays: dict[str, np.ndarray] = {
        "z": means.astype("<f4"), "x": _raw(shown), "row": at.numpy().astype("<i4"),
    }  # fmt: skip
    if shown.contexts:
        given = [c.flatten(1) for c in shown.contexts_of(slice(None), torch.empty(0))]
        arrays["context"] = torch.cat(given, 1).numpy().astype("<f4")
    if umap:
        say("laying them out by UMAP")
        arrays["umap"] = projection.umap(means, seed).astype("<f4")
    say("scoring them")
    scored = _scores(run.vae, shown, schema, seed, arrays)
    train = run.config.get("train") or {}
    meta = {
        "name": name, "version": __version__, "rows": len(shown), "total": len(data), "dim": means.shape[1],
        "data": _units(run.vae, shown, schema), "dims": _dims(run.vae, shown, means, seed),
        "pca": projection.components(means), "labels": _labels(shown, arrays), "scores": scored,
        "contexts": _contexts(schema), "autoencoder": isinstance(run.vae.posterior, Point),
        "facts": _facts(run, schema), "history": _plain(run.history), "best": _best(run.history),
        "doctor": None,
    }  # fmt: skip
    if doctor:
        say("asking the doctor")
        meta["doctor"] = _findings(run, shown, schema, train, seed)
    return View(run.vae, shown, schema, name, meta, arrays)


def file_page(view: View) -> str:
    """The page as one file that computes in the browser.

    Raises:
        NotInThePageError: for a part of the model that the page cannot compute.
    """
    weights, vae, data = Weights(), view.vae, view.data
    contexts = [math.prod(c.shape[1:]) for c in data.contexts]
    dim = int(view.meta["dim"])
    if len(contexts) - int(getattr(vae.likelihood, "own_contexts", 0)) > 1:
        raise NotInThePageError("a model with several contexts, made in Python")
    model = {
        "encoder": heads.encoder(vae.posterior, data.event_shape, dim, weights, contexts),
        "decoder": heads.decoder(vae.likelihood, data.event_shape, dim, weights, contexts),
        "prior": heads.prior(vae.prior, weights),
    }
    payload = pack(view.meta | {"model": model}, view.arrays | {"weights": weights.buffer()})
    return document(f"{view.name}: latent space", payload)[0]


def _spread(n: int, most: int) -> Tensor:
    return torch.arange(n) if n <= most else torch.linspace(0, n - 1, most, dtype=torch.float64).long()


def _raw(data: Dataset) -> np.ndarray:
    """The rows in their own units, as small as they can be: bytes, or float32."""
    x = data.x.flatten(1).cpu()
    if x.dtype in (torch.uint8, torch.bool):
        return x.to(torch.uint8).numpy()
    array = x.double().numpy()
    whole = bool((array == np.rint(array)).all() and array.min() >= 0 and array.max() <= 255)
    return array.astype(np.uint8 if whole else "<f4")


# -- scores ------------------------------------------------------------------------------------------------------------


def _scores(vae: VAE, data: Dataset, schema: Schema, seed: int, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """log p(x), reconstruction and KL of each row into the arrays; their means and how they were made."""
    k = max(10, min(500, _DRAWS // len(data)))
    point = isinstance(vae.posterior, Point)
    estimate = log_likelihood(vae, data, k, "prior" if point else "importance", seed)
    units = torch.from_numpy(schema.table.log_units(data.x.cpu().numpy())) if schema.table else 0.0  # per unit of them
    arrays["log_p"] = (estimate.per_datum + units).numpy().astype("<f4")
    arrays["log_p_error"] = _errors(estimate.ess, k).numpy().astype("<f4")
    found: dict[str, Any] = {"k": k, "method": estimate.method, "n": len(data), "log_p": _number(estimate, units)}
    if point:
        arrays["reconstruction"] = (_at_the_point(vae, data, seed) + units).numpy().astype("<f4")
        return found
    terms = elbo_terms(vae, data, 5, seed)
    arrays["reconstruction"] = (terms.reconstruction.per_datum + units).numpy().astype("<f4")
    arrays["kl"] = terms.kl.per_datum.numpy().astype("<f4")
    return found | {"elbo": _number(terms.elbo, units), "kl": _number(terms.kl),
                    "rec": _number(terms.reconstruction, units)}  # fmt: skip


def _errors(ess: Tensor, k: int) -> Tensor:
    """The standard error of the log of a mean of k weights, to first order, by their effective number; in nats."""
    return (1 / ess.clamp(min=1.0) - 1 / k).clamp(min=0.0).sqrt()


def _at_the_point(vae: VAE, data: Dataset, seed: int) -> Tensor:
    with evaluating(vae):
        parts = [
            vae.likelihood(vae.encode(x, *c), *c).log_prob(x)
            for _, x, c in batches(data, reference(vae), rows_per_call(vae, data), seed)
        ]
    return torch.cat(parts).double().cpu()


def _number(e: Estimate, units: Tensor | float = 0.0) -> list[float | None]:
    moved = Estimate.of(e.per_datum + units, e.k, e.method)
    return [_finite(moved.value), _finite(moved.stderr)]


def _finite(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


# -- latent space ------------------------------------------------------------------------------------------------------


def _dims(vae: VAE, data: Dataset, means: np.ndarray, seed: int) -> list[dict[str, Any]]:
    """Of each dimension: its KL where it has one of its own, the spread of the means, and whether it is in use."""
    kl: np.ndarray | None = None
    try:
        each = codes(vae, data[_spread(len(data), _CODES)], seed).each
        kl = None if each is None else each.mean(0).numpy()
    except InputError:  # a posterior without density
        kl = None
    spread = means.std(0)
    return [
        {
            "kl": None if kl is None else _finite(float(kl[j])), "mean": float(means[:, j].mean()),
            "sd": float(spread[j]), "low": float(means[:, j].min()), "high": float(means[:, j].max()),
            "idle": bool(spread[j] ** 2 < 0.01 and (kl is None or kl[j] < 0.01)),
        }
        for j in range(means.shape[1])
    ]  # fmt: skip


# -- units and words ---------------------------------------------------------------------------------------------------


def _units(vae: VAE, data: Dataset, schema: Schema) -> dict[str, Any]:
    """What one datum is, and how its numbers are drawn."""
    shape = data.event_shape
    flat = data.x.flatten(1).double()
    low, high = _ends(flat)
    table: dict[str, Any] = {
        "shape": list(shape), "size": math.prod(shape), "pixelMax": data.pixel_max, "binarize": data.binarize,
        "integers": schema.integers, "low": float(low.min()), "high": float(high.max()),
    }  # fmt: skip
    if schema.table:
        return table | {"kind": "table", "columns": _columns(schema.table, low, high)}
    if len(shape) in (2, 3):
        channels, height, width, last = image_layout(shape)
        if channels in (1, 3):
            return table | {"kind": "image", "channels": channels, "height": height, "width": width, "last": last}
    named = data.columns is not None
    if len(shape) != 1 or shape[0] > _TABLE or (not named and shape[0] > 16):
        ends = np.quantile(flat[_spread(len(flat), _CODES)].numpy(), [0.005, 0.995]) / (data.pixel_max or 1)
        return table | {"kind": "line", "columns": data.columns, "span": [min(0.0, float(ends[0])), float(ends[1])]}
    names = data.columns or [f"column {j}" for j in range(shape[0])]
    classes = _classes(vae.likelihood)
    columns = [
        {"name": name, "low": float(low[j]), "high": float(high[j]), "classes": classes.get(j),
         "whole": bool((flat[:, j] == flat[:, j].round()).all())}
        for j, name in enumerate(names)
    ]  # fmt: skip
    return table | {"kind": "table", "columns": columns}


def _ends(flat: Tensor) -> tuple[Tensor, Tensor]:
    """The least and the largest number of each column; 0 and 1 of one that has none."""
    hole = flat.isnan()
    low, high = flat.masked_fill(hole, math.inf).amin(0), flat.masked_fill(hole, -math.inf).amax(0)
    return low.masked_fill(hole.all(0), 0.0), high.masked_fill(hole.all(0), 1.0)


def _columns(schema: TableSchema, low: Tensor, high: Tensor) -> list[dict[str, Any]]:
    """The columns of a mixed table, with what takes the model's numbers to their units and back."""
    made: list[dict[str, Any]] = [
        {"name": c.name, "classes": c.classes if c.coded else None, "names": _names(c),
         "whole": c.kind == "count", "kind": c.kind, "loc": c.loc, "spread": c.spread,
         "ends": c.support or [None, None], "step": c.step, "bounds": [c.low, c.high]}
        for c in schema.modelled
    ]  # fmt: skip
    made += [{"name": f"{n} is missing", "classes": 2, "names": ["seen", "missing"], "kind": "binary", "whole": True}
             for n in schema.indicators]  # fmt: skip
    return [{**column, "low": float(low[j]), "high": float(high[j])} for j, column in enumerate(made)]


def _names(column: Column) -> list[str]:
    return ["False", "True"] if column.kind == "boolean" else [_word(v) for v in column.categories or ()]


def _word(value: Any) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def _classes(likelihood: nn.Module) -> dict[int, int]:
    """How many classes a column has, of those that are class numbers: 2 for Bernoulli."""
    if not isinstance(likelihood, likelihoods.Mixed):
        return {}
    counts = {
        c: 2 if isinstance(part, likelihoods.Bernoulli) else int(getattr(part, "classes", 0))
        for part, columns in likelihood.parts
        for c in columns
    }
    return {c: n for c, n in counts.items() if n}


def _labels(data: Dataset, arrays: dict[str, np.ndarray]) -> dict[str, Any] | None:
    """The labels as names with a number for each row (255 for none of the names), or as numbers on a scale."""
    labels = data.labels
    if labels is None or labels.ndim != 1:
        return None
    numeric = labels.dtype.kind in "iuf"
    texts = [f"{v:g}" if numeric else str(v) for v in labels.tolist()]
    if numeric and len(set(texts)) > _GROUPS:
        arrays["label"] = labels.astype("<f4")
        return {"kind": "number"}
    names = [name for name, _ in Counter(texts).most_common(_GROUPS)]
    names.sort(key=(lambda n: (float(n), n)) if numeric else (lambda n: (0.0, n)))
    place = {name: i for i, name in enumerate(names)}
    arrays["label"] = np.array([place.get(t, 255) for t in texts], np.uint8)
    return {"kind": "names", "names": names}


def _contexts(schema: Schema) -> list[dict[str, Any]]:
    group = schema.table and schema.table.group
    if group:
        known = [_word(v) for v in group.categories or ()]
        return [{"name": group.name, "categories": known, "loc": None, "spread": None, "width": len(known)}]
    told: list[dict[str, Any]] = [
        {"name": c.name, "categories": c.categories, "loc": c.loc, "spread": c.spread, "width": c.width}
        for c in schema.contexts or ()
    ]
    if schema.counting is None or not schema.exposed:
        return told
    total = None if schema.counting.column else schema.counting.typical  # by which a row of one's own is sized
    return [*told, {"name": "size factor", "categories": None, "loc": [0.0], "spread": [1.0], "width": 1,
                     "usual": 1.0, "total": total}]  # fmt: skip


def _facts(run: Run, schema: Schema) -> list[list[str]]:
    facts = Facts(run.vae, schema, run.config, run.history, run.history, {})
    return [[r.name, r.value] for r in (*model_rows(facts), *training_rows(facts))]


def _plain(history: Sequence[Mapping[str, Any]]) -> list[dict[str, float | None]]:
    """The numbers of each epoch; what is not finite is left out."""
    kept = ("epoch", *(f"{kind}_{name}" for kind in ("train", "validation") for name in _CURVES))
    return [{k: _finite(r.get(k)) for k in kept if k in r} for r in history]


_CURVES = ("objective", "reconstruction", "kl")


def _best(history: Sequence[Mapping[str, Any]]) -> int | None:
    held = [r for r in history if _finite(r.get("validation_objective")) is not None]
    return int(max(held, key=lambda r: float(r["validation_objective"]))["epoch"]) if held else None


def _findings(run: Run, data: Dataset, schema: Schema, train: Mapping[str, Any], seed: int) -> dict[str, Any]:
    try:
        found = diagnose(run.vae, data, history=run.history, objective=train.get("objective"),
                         epochs=train.get("epochs"), table=schema.table, rows=500, gap_rows=20, seed=seed)  # fmt: skip
    except InputError as error:
        return {"said": str(error), "findings": []}
    said = "Nothing found to be wrong." if found.healthy else ""
    return {
        "said": said,
        "rows": found.rows,
        "findings": [
            {"name": f.name.replace("_", " "), "weight": f.weight, "sentence": f.sentence, "remedy": f.remedy}
            for f in found.findings
        ],
    }
