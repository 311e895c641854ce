"""A run as the folder of a model on a hub: what loads the model, its figures, and a README with its numbers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reparam.data import Schema
from reparam.errors import InputError
from reparam.report.words import Facts, model_rows, training_rows
from reparam.run import CONFIG, HISTORY, MODEL, SCHEMA, Run, atomic_write, dump_toml
from reparam.version import __version__

_FIGURES = {  # of the report, in the order of the card
    "samples": "Samples of the model", "manifold": "The latent space, decoded on a grid",
    "marginals": "Columns of the data beside those of samples", "reconstructions": "Data beside their reconstructions",
    "latent": "The latent space", "curves": "The bound at each epoch",
}  # fmt: skip
_METRICS = {
    "log_likelihood": "log-likelihood, nats per datum", "elbo": "ELBO, nats per datum",
    "reconstruction": "reconstruction, nats per datum", "kl": "KL, nats per datum",
    "bits_per_dim": "bits per dimension", "active_units": "active units",
}  # fmt: skip


def write_card(
    run: Run, schema: Schema, folder: str | Path, *, name: str, numbers: Mapping[str, Any] | None = None,
    data: str | None = None, licence: str | None = None,
) -> list[Path]:  # fmt: skip
    """Write the card of a run to a folder, which ``rp.load`` opens with the same bits; the files that were written.

    ``numbers`` are those of ``reparam evaluate --json``, on data of this name. Of the configuration, paths of this
    machine are left out.

    Raises:
        InputError: for a folder that is the run itself.
    """
    folder = Path(folder)
    if folder.resolve() == run.folder.resolve():
        raise InputError(f"{folder} is the run itself: give the card a folder of its own")
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    for kept in (MODEL, SCHEMA, HISTORY):
        if (run.folder / kept).exists():
            shutil.copyfile(run.folder / kept, folder / kept)
    atomic_write(folder / CONFIG, dump_toml(_without_paths(run.config)))
    pictures = sorted((run.folder / "figures").glob("*.png"), key=_place)
    for picture in pictures:
        shutil.copyfile(picture, folder / "figures" / picture.name)
    text = _readme(run, schema, name, numbers or {}, data, licence, [p.stem for p in pictures])
    atomic_write(folder / "README.md", text)
    return sorted(p for p in folder.rglob("*") if p.is_file())


def _without_paths(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with the last parts of paths alone."""
    return {key: _without_paths(value) if key != "model" and isinstance(value, Mapping) else _name(key, value)
            for key, value in config.items()}  # fmt: skip


def _name(key: str, value: Any) -> Any:
    is_path = key in ("data", "out", "labels", "schema") or (isinstance(value, str) and Path(value).is_absolute())
    return Path(value).name if is_path and isinstance(value, str) else value


def _place(picture: Path) -> tuple[int, str]:
    known = list(_FIGURES)
    return next((i for i, k in enumerate(known) if picture.stem.startswith(k)), len(known)), picture.stem


def _readme(
    run: Run, schema: Schema, name: str, numbers: Mapping[str, Any], data: str | None, licence: str | None,
    pictures: list[str],
) -> str:  # fmt: skip
    facts = Facts(run.vae, schema, run.config, run.history, run.history, {})
    rows = [(r.name, r.value) for r in (*model_rows(facts), *training_rows(facts))]
    return "\n".join([
        *_front(name, numbers, data, licence), "", f"# {name}", "",
        f"A variational autoencoder, trained with reparam {run.config.get('reparam', __version__)}.", "",
        *_numbers(numbers, data),
        "## The model", "", "| | |", "|---|---|", *(f"| {_cell(k)} | {_cell(v)} |" for k, v in rows), "",
        "## How to use it", "", "```python", "import reparam as rp", "",
        'vae = rp.load(".")  # the folder of this file',
        *_use(schema), "```", "", *_pictures(pictures),
    ]).rstrip() + "\n"  # fmt: skip


def _front(name: str, numbers: Mapping[str, Any], data: str | None, licence: str | None) -> list[str]:
    """The front matter that hubs read, in YAML; text as JSON, which YAML holds."""
    lines = ["---", "library_name: reparam", "tags:", "- variational-autoencoder", "- generative-model"]
    lines += [f"license: {json.dumps(licence)}"] if licence else []
    found = [(n, numbers[n]) for n in _METRICS if isinstance(numbers.get(n), int | float)]
    if found:
        lines += [
            "model-index:", f"- name: {json.dumps(name)}", "  results:", "  - task:", "      type: density-estimation",
            "    dataset:", f"      name: {json.dumps(data or 'held out')}",
            f"      type: {json.dumps(data or 'held out')}",
            "    metrics:",
            *(line for n, v in found for line in (f"    - type: {n}", f"      name: {json.dumps(_METRICS[n])}",
                                                  f"      value: {v:.6g}")),
        ]  # fmt: skip
    return [*lines, "---"]


def _numbers(numbers: Mapping[str, Any], data: str | None) -> list[str]:
    if not numbers:
        return []
    errors = {"log_likelihood": "stderr", "elbo": "elbo_stderr"}
    lines = []
    for key, words in _METRICS.items():
        value, error = numbers.get(key), numbers.get(errors.get(key, ""))
        if value is not None:
            digits = f"{value:.3f}" if isinstance(value, float) else str(value)
            lines.append(f"| {words} | {digits}{f' ± {error:.3f}' if isinstance(error, float) else ''} |")
    return [
        "## How good it is", "",
        f"On {numbers['n']} rows of {data or 'its data'}, by {numbers['method']} sampling with "
        f"k = {numbers['k']}; ± is one standard error.", "", "| | |", "|---|---|", *lines, "",
    ]  # fmt: skip


def _use(schema: Schema) -> list[str]:
    if schema.table is not None:
        return ['model = rp.TabularVAE.load(".")', "rows = model.sample(10)"]
    if schema.contexts or schema.exposed:
        return []
    units = "times pixel_max of schema.json" if schema.pixel_max else "in the data's units"
    return [f"x = vae.sample(10)  # {units}"]


def _pictures(names: list[str]) -> list[str]:
    if not names:
        return []
    said = [(n, next((t for k, t in _FIGURES.items() if n.startswith(k)), n.replace("_", " "))) for n in names]
    return ["## Figures", "", *(line for n, t in said for line in (f"![{t}](figures/{n}.png)", ""))]


def _cell(text: str) -> str:
    return " ".join(str(text).replace("|", "\\|").split())
