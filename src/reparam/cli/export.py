"""export: the model for those who run it without reparam, or who find it on a hub."""

from __future__ import annotations

from pathlib import Path

from reparam.card import write_card
from reparam.cli.common import check_seed, dataset, opened, prepare, say
from reparam.cli.evaluate import measure
from reparam.cli.options import ExportOptions
from reparam.data import Schema
from reparam.errors import InputError
from reparam.export import ROWS
from reparam.export import export as write
from reparam.run import Run


def export(options: ExportOptions) -> int:
    """``reparam export``."""
    prepare(options.threads)
    if options.onnx is None and options.card is None:
        raise InputError("give the folder to write to: --onnx DIR, or --card DIR for the folder of a hub")
    for name, folder in (("--onnx", options.onnx), ("--card", options.card)):
        if folder is not None and Path(folder).is_file():
            raise InputError(f"{folder} is a file: {name} names a folder")
    if options.card is None and options.data is not None:
        raise InputError("DATA are those of the numbers of a card: give --card DIR too, or leave DATA out")
    run, schema = opened(options.run)
    if options.onnx is not None:
        files = write(run, schema, options.onnx)
        say(f"{', '.join(f.name for f in files)} in {options.onnx}; both give what torch gives, to 1e-5, on "
            f"{', '.join(map(str, ROWS))} rows")  # fmt: skip
    if options.card is not None:
        _card(options, run, schema)
    return 0


def _card(options: ExportOptions, run: Run, schema: Schema) -> None:
    numbers = None
    if options.data is not None:
        data = dataset(schema, options.data)
        numbers = measure(run.vae, data, schema, options.k, "auto", check_seed(options.seed))
    assert options.card is not None
    files = write_card(
        run, schema, options.card, name=Path(options.run).resolve().name, numbers=numbers,
        data=Path(options.data).name if options.data else None, licence=options.license,
    )  # fmt: skip
    more = "" if numbers else "; with DATA, rows that training did not see, it says how good the model is"
    say(f"{len(files)} files in {options.card}, which reparam.load opens{more}")
