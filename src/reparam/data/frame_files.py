"""Tables of any columns from files, as DataFrames of pandas, and back."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from reparam.data.tables import separator
from reparam.errors import InputError, require

ENDINGS = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".parquet")
_MISSING = ["", "?", "-", "na", "n/a", "NA", "N/A", "nan", "NaN", "null", "NULL", "None", "none", "missing", "<NA>"]
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})?)?")
_OTHER_DATE = re.compile(r"\d{1,2}[/.]\d{1,2}[/.]\d{4}")
_FORMATS = ("%m/%d/%Y", "%d/%m/%Y", "%d.%m.%Y")
_COMMA = re.compile(r"[+-]?\d+(,\d+)?([eE][+-]?\d+)?")
_MOSTLY = 0.9  # a column of text of which so many cells are numbers has faults


def is_table(path: str | Path) -> bool:
    """Whether the file is one of those that hold tables, by its name."""
    return Path(path).is_file() and str(path).lower().endswith(ENDINGS)


def read_frame(path: str | Path) -> Any:
    """A DataFrame of the file: .csv, .tsv (gzip too) or .parquet. Texts that are all dates, as ISO has
    them or as 31.5.2024 or 5/31/2024 where days cannot be months, are dates; numbers may have a decimal comma where
    semicolons stand between cells.

    Raises:
        InputError: in one line, for a file that is missing, damaged, ragged or empty, and for a column of numbers with
            a few cells that are none, naming the first.
    """
    pandas, path = require("pandas", "tabular", "reading tables"), Path(path)
    if not is_table(path):
        what = "no such file" if not path.exists() else "no table"
        raise InputError(f"{path}: {what}; a table is a file ending with one of {' '.join(ENDINGS)}")
    if path.name.lower().endswith(".parquet"):
        require("pyarrow", "tabular", "reading Parquet")
        with _one_line(path, "Parquet"):
            frame = pandas.read_parquet(path)
        names = [c for c in frame.columns if not re.fullmatch(r"__index_level_\d+__", str(c))]
        return frame[names].reset_index(drop=True)
    with _one_line(path, "a table of text in UTF-8"):
        between = separator(path)
        frame = pandas.read_csv(
            path, sep=between, na_values=_MISSING, keep_default_na=False, skipinitialspace=True, encoding="utf-8-sig",
            low_memory=False, index_col=False,
        )  # fmt: skip
    if not len(frame.columns) or not len(frame):
        raise InputError(f"{path.name} has no rows")
    twice = next(
        (c for c in frame.columns if re.fullmatch(r".*\.\d+", c) and c.rsplit(".", 1)[0] in frame.columns), None
    )
    if twice is not None and _head(path).count(twice.rsplit(".", 1)[0]) > 1:
        raise InputError(f"{path.name} has two columns named {twice.rsplit('.', 1)[0]!r}: rename one")
    frame.columns = [str(c).strip() for c in frame.columns]
    if len(set(frame.columns)) < len(frame.columns):
        raise InputError(f"{path.name} has two columns whose names differ in spaces alone: rename one")
    for name in frame.columns:
        if between == ";" and not pandas.api.types.is_numeric_dtype(frame[name].dtype):
            frame[name] = _with_points(pandas, frame[name])
        if not pandas.api.types.is_numeric_dtype(frame[name].dtype):
            frame[name] = _refined(pandas, frame[name], path.name, name)
    return frame


def _head(path: Path) -> list[str]:
    pandas = require("pandas", "tabular", "reading tables")
    first = pandas.read_csv(path, sep=separator(path), header=None, nrows=1, dtype=str, encoding="utf-8-sig")
    return [str(c) for c in first.iloc[0]]


def _refined(pandas: Any, series: Any, file: str, name: str) -> Any:
    """A column of text as dates where all are; refused where nearly all are numbers."""
    known = series.dropna()
    if not len(known) or pandas.api.types.is_bool_dtype(known.dtype):
        return series
    words = [str(v) for v in known.head(1000)]
    if all(v in ("True", "False") for v in words) and set(map(str, known.unique())) <= {"True", "False"}:
        return series.map({True: True, False: False, "True": True, "False": False}).astype("boolean")
    if all(_DATE.fullmatch(v) for v in words):
        return _dates(pandas, series, {"format": "ISO8601"}, {"format": "ISO8601", "utc": True})
    if all(_OTHER_DATE.fullmatch(v) for v in words):
        return _dates(pandas, series, *({"format": f} for f in _FORMATS))
    numbers = pandas.to_numeric(known, errors="coerce")
    if _MOSTLY < float(numbers.notna().mean()) < 1:
        row = int(numbers.index[np.asarray(numbers.isna())][0])
        raise InputError(
            f"{file}: row {row}, column {name!r} is {str(series[row])[:40]!r} where nearly all are numbers: mend it, "
            "or leave it empty"
        )
    return series


def _dates(pandas: Any, series: Any, *ways: dict[str, Any]) -> Any:
    """The dates of a column of text by the first way that reads all of them; the text, where days may be months."""
    found = []
    for way in ways:
        try:
            found.append(pandas.to_datetime(series, **way))
        except (ValueError, TypeError):
            continue
        if way["format"] == "ISO8601":
            break
    return found[0] if len(found) == 1 else series


def _with_points(pandas: Any, series: Any) -> Any:
    """Numbers with a decimal comma, which semicolons between cells allow, as numbers."""
    known = series.dropna()
    if not len(known) or not all(_COMMA.fullmatch(str(v)) for v in known):
        return series
    return pandas.to_numeric(series.astype("str").str.replace(",", "."))


@contextmanager
def _one_line(path: Path, kind: str) -> Iterator[None]:
    pandas = require("pandas", "tabular", "reading tables")
    try:
        yield
    except pandas.errors.EmptyDataError as error:
        raise InputError(f"{path.name} is empty") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path.name} cannot be read as {kind}: save it in UTF-8") from error
    except (pandas.errors.ParserError, OSError, EOFError) as error:
        said = " ".join(str(error).split())
        raise InputError(f"{path.name} cannot be read as {kind}: {said}") from error
    except ValueError as error:  # pyarrow's own errors among them
        raise InputError(f"{path.name} cannot be read as {kind}: it is truncated or of another format") from error


def frame_bytes(frame: Any, ending: str) -> bytes:
    """The content of a .csv, .tsv or .parquet file of this frame."""
    if ending == ".parquet":
        require("pyarrow", "tabular", "writing Parquet")
        buffer = io.BytesIO()
        frame.to_parquet(buffer, index=False)
        return buffer.getvalue()
    text: str = frame.to_csv(index=False, sep="\t" if ending == ".tsv" else ",")
    return text.encode()


class PieceWriter:
    """Writes frames of the same columns one behind the other into one .csv, .tsv or .parquet file."""

    def __init__(self, path: Path, ending: str) -> None:
        self.path, self.ending = path, ending
        self.file: Any = None
        self.parquet: Any = None

    def __enter__(self) -> PieceWriter:
        self.file = self.path.open("wb")
        return self

    def __exit__(self, *raised: object) -> None:
        if self.parquet is not None:
            self.parquet.close()
        self.file.close()

    def add(self, frame: Any) -> None:
        """One more piece."""
        if self.ending != ".parquet":
            head, tab = self.file.tell() == 0, "\t" if self.ending == ".tsv" else ","
            self.file.write(frame.to_csv(index=False, header=head, sep=tab).encode())
            return
        arrow, parquet = (require(n, "tabular", "writing Parquet") for n in ("pyarrow", "pyarrow.parquet"))
        table = arrow.Table.from_pandas(frame, self.parquet and self.parquet.schema, preserve_index=False)
        self.parquet = self.parquet or parquet.ParquetWriter(self.file, table.schema)
        self.parquet.write_table(table)
