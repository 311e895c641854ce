"""export: the model for those who run it without reparam."""

from __future__ import annotations

from pathlib import Path

from reparam.cli.common import opened, prepare, say
from reparam.cli.options import ExportOptions
from reparam.errors import InputError
from reparam.export import ROWS
from reparam.export import export as write


def export(options: ExportOptions) -> int:
    """``reparam export``."""
    prepare(options.threads)
    if options.onnx is None:
        raise InputError("give the folder to write to: --onnx DIR")
    if Path(options.onnx).is_file():
        raise InputError(f"{options.onnx} is a file: --onnx names a folder")
    run, schema = opened(options.run)
    files = write(run, schema, options.onnx)
    say(f"{', '.join(f.name for f in files)} in {options.onnx}; both give what torch gives, to 1e-5, on "
        f"{', '.join(map(str, ROWS))} rows")  # fmt: skip
    return 0
