"""Data frames of pandas and polars, column by column, as plain arrays; and back, in the dtypes that they had."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from reparam.errors import InputError, InputTypeError, require

_STRETCH = 1 << 16  # rows of a column read at a time
_TEXT, _NUMBER, _BOOL, _TIME = "text", "number", "bool", "time"


class Plain(NamedTuple):
    """A column as an array: float64 with NaN where missing (times in seconds since 1970), or text with None there.

    ``form`` is "number", "bool", "time" or "text"; ``categories`` are those that the dtype declares, in their order.
    """

    values: np.ndarray
    form: str
    dtype: str
    categories: list[Any] | None = None
    ordered: bool = False


def library(frame: Any) -> str:
    """ "pandas" or "polars".

    Raises:
        InputTypeError: for anything else.
    """
    root = type(frame).__module__.partition(".")[0]
    if root in ("pandas", "polars") and type(frame).__name__ == "DataFrame":
        return root
    raise InputTypeError(
        f"a table is a DataFrame of pandas or polars, not {type(frame).__name__}: for an array, name its columns with "
        "pandas.DataFrame(array, columns=[...])"
    )


def names(frame: Any) -> list[str]:
    """The names of the columns.

    Raises:
        InputError: for what is no DataFrame, and names that are no text or given twice.
    """
    library(frame)
    found = list(frame.columns)
    for name in found:
        if not isinstance(name, str):
            raise InputError(f"the table has a column named {name!r}: name columns by text")
    twice = next((name for name in found if found.count(name) > 1), None) if len(set(found)) < len(found) else None
    if twice is not None:
        raise InputError(f"the table has two columns named {twice!r}: rename one")
    return found


def stretches(frame: Any, name: str) -> list[slice]:
    """The rows of a column in stretches that can be read alone; in one, where only all values say what they are."""
    whole = library(frame) == "pandas" and str(frame[name].dtype) == "object"
    return [slice(0, len(frame))] if whole else [slice(i, i + _STRETCH) for i in range(0, len(frame), _STRETCH)]


def plain(frame: Any, name: str, rows: slice | None = None) -> Plain:
    """The column of this name, of all rows or of some.

    Raises:
        InputError: for values of several kinds, or of one that no likelihood explains.
    """
    series = frame[name]
    if library(frame) == "pandas":
        found = _pandas(series if rows is None else series.iloc[rows], name)
    else:
        found = _polars(series if rows is None else series[rows], name)
    if found.form != _TEXT and found.values.size and np.isinf(found.values).any():
        row = int(np.isinf(found.values).argmax())
        raise InputError(f"column {name!r}, row {row} is infinite: replace it, by a missing value or a finite number")
    return found


def build(kind: str, columns: Mapping[str, tuple[np.ndarray, str, Sequence[Any] | None]], index: Any = None) -> Any:
    """A frame of the library ``kind`` from (values, dtype, declared categories) by name; missing as in :class:`Plain`.

    A dtype of the other library gives the nearest of this one.
    """
    if kind == "polars":
        polars = require("polars", "tabular", "a polars DataFrame")
        return polars.DataFrame([_to_polars(polars, n, v, d, c) for n, (v, d, c) in columns.items()])
    pandas = require("pandas", "tabular", "a pandas DataFrame")
    series = {n: _to_pandas(pandas, v, d, c, index) for n, (v, d, c) in columns.items()}
    rows = len(next(iter(columns.values()))[0]) if columns else 0
    return pandas.DataFrame(series, index=pandas.RangeIndex(rows) if index is None else index)


def _refuse(name: str, what: str) -> InputError:
    return InputError(f"column {name!r} holds {what}: make it numbers, text, dates or true and false, or remove it")


def _words(pandas: Any, series: Any) -> np.ndarray:
    """A column of text with None where missing; equal texts are one object, which takes a tenth of the memory."""
    codes, different = pandas.factorize(series)
    words = np.empty(len(different) + 1, dtype=object)
    words[:-1] = [str(word) for word in different]
    return np.asarray(words[codes])


def _pandas(series: Any, name: str) -> Plain:
    pandas = require("pandas", "tabular", "reading a DataFrame")
    api, dtype = pandas.api.types, str(series.dtype)
    if isinstance(series.dtype, pandas.CategoricalDtype):
        inner = _pandas(pandas.Series(series.dtype.categories), name)
        codes, ordered = np.asarray(series.cat.codes), bool(series.dtype.ordered)
        values = np.concatenate([inner.values, [None if inner.form == _TEXT else np.nan]])[codes]
        return Plain(
            values, inner.form, f"category[{inner.dtype}]{'<' if ordered else ''}", list(inner.values), ordered
        )
    if api.is_datetime64_any_dtype(series.dtype):
        return Plain(_seconds(pandas, series), _TIME, dtype)
    is_bool = api.is_bool_dtype(series.dtype)
    if is_bool or (api.is_numeric_dtype(series.dtype) and not api.is_complex_dtype(series.dtype)):
        return Plain(_floats(series), _BOOL if is_bool else _NUMBER, dtype)
    if isinstance(series.dtype, pandas.StringDtype) or dtype == "object" or "string" in dtype:
        kind = api.infer_dtype(series, skipna=True)
        missing = np.asarray(series.isna())
        if kind in ("string", "empty"):
            return Plain(_words(pandas, series), _TEXT, dtype)
        if kind in ("integer", "floating", "mixed-integer-float", "decimal", "boolean"):
            values = np.array([np.nan if m else float(v) for v, m in zip(series, missing, strict=True)])
            return Plain(values, *((_BOOL, "object:boolean") if kind == "boolean" else (_NUMBER, dtype)))
        if kind in ("date", "datetime", "datetime64"):
            return Plain(_seconds(pandas, pandas.to_datetime(series)), _TIME, f"object:{kind}")
        raise _refuse(name, f"values of several types ({kind})" if "mixed" in kind else kind)
    raise _refuse(name, dtype)


def _floats(series: Any) -> np.ndarray:
    return np.asarray(series.to_numpy(dtype=np.float64, na_value=np.nan))


def _seconds(pandas: Any, series: Any) -> np.ndarray:
    """Seconds since 1970, in UTC where there is a time zone."""
    if getattr(series.dt, "tz", None) is not None:
        series = series.dt.tz_convert("UTC").dt.tz_localize(None)
    stamps = series.to_numpy(dtype="datetime64[us]")
    seconds = stamps.astype(np.int64) / 1e6
    return np.where(np.isnat(stamps), np.nan, seconds)


def _to_pandas(pandas: Any, values: np.ndarray, dtype: str, categories: Sequence[Any] | None, index: Any) -> Any:
    if match := re.fullmatch(r"category\[(.*)\](<)?", dtype):
        inner, ordered = match.groups()
        known = pandas.Index(_to_pandas(pandas, _plain_array(categories or [], values), inner, None, None))
        return pandas.Series(pandas.Categorical.from_codes(
            _codes(values, list(categories or [])), known, ordered=bool(ordered)), index=index)  # fmt: skip
    if values.dtype == object:
        kept = dtype if "str" in dtype or dtype == "object" else "str"
        return pandas.Series(values, dtype=object, index=index).astype(kept)
    if "datetime" in dtype or dtype == "object:date" or dtype.startswith(("timestamp", "Date")):
        return _times(pandas, values, dtype, index)
    missing = np.isnan(values)
    kind = dtype.lower()
    if kind.startswith("bool") or dtype == "object:boolean":
        if not missing.any() and dtype in ("bool", "Boolean"):
            return pandas.Series(values >= 0.5, index=index)
        cells = [None if m else bool(v >= 0.5) for v, m in zip(values, missing, strict=True)]
        return pandas.Series(cells, index=index, dtype=object if dtype in ("bool", "object:boolean") else dtype)
    if kind.startswith(("int", "uint")):
        whole = pandas.Series(np.where(missing, 0, np.rint(values)), index=index)
        if not missing.any():
            return whole.astype(dtype)
        return whole.astype(_nullable(dtype)).mask(missing)
    kept = dtype if kind.startswith(("float", "double", "half", "object")) else "float64"
    return pandas.Series(values, index=index).astype(kept)


def _nullable(dtype: str) -> str:
    """The integer dtype of pandas that has missing values: Int64 of int64."""
    return dtype if "[" in dtype else dtype.replace("uint", "UInt").replace("int", "Int")


def _times(pandas: Any, values: np.ndarray, dtype: str, index: Any) -> Any:
    missing = np.isnan(values)
    micro = np.where(missing, 0, np.rint(np.where(missing, 0, values) * 1e6)).astype(np.int64)
    stamps = micro.astype("datetime64[us]")
    stamps[missing] = np.datetime64("NaT")
    series = pandas.Series(stamps, index=index)
    if dtype == "object:date":
        return series.dt.date.where(~missing, None)
    if dtype.startswith("object"):
        return series.astype(object)
    if not dtype.startswith("datetime64"):
        return series
    zone = re.fullmatch(r"datetime64\[\w+, (.*)\]", dtype)
    return (series.dt.tz_localize("UTC").dt.tz_convert(zone[1]) if zone else series).astype(dtype)


def _plain_array(items: Sequence[Any], like: np.ndarray) -> np.ndarray:
    return np.array(list(items), dtype=object) if like.dtype == object else np.array(items, dtype=np.float64)


def _codes(values: np.ndarray, categories: list[Any]) -> np.ndarray:
    place = {c: i for i, c in enumerate(categories)}
    return np.array([place.get(v, -1) for v in values.tolist()], dtype=np.int64)


def _polars(series: Any, name: str) -> Plain:
    polars = require("polars", "tabular", "reading a polars DataFrame")
    kind, dtype = series.dtype, str(series.dtype)
    missing = series.is_null().to_numpy()
    if kind.is_numeric():
        return Plain(series.cast(polars.Float64).fill_null(float("nan")).to_numpy(), _NUMBER, dtype)
    if kind == polars.Boolean:
        return Plain(series.cast(polars.Float64).fill_null(float("nan")).to_numpy(), _BOOL, dtype)
    if kind in (polars.Date, polars.Datetime):
        micro = series.cast(polars.Datetime("us")).cast(polars.Int64).fill_null(0).to_numpy()
        return Plain(np.where(missing, np.nan, micro / 1e6), _TIME, dtype)
    if kind in (polars.Categorical, polars.Enum):
        declared = kind.categories.to_list() if kind == polars.Enum else None
        values = np.array(series.cast(polars.String).to_list() or [], dtype=object)
        return Plain(values, _TEXT, "Enum" if declared else "Categorical", declared, bool(declared))
    if kind in (polars.String, polars.Null):
        return Plain(np.array(series.to_list() or [], dtype=object), _TEXT, dtype)
    raise _refuse(name, dtype)


def _to_polars(polars: Any, name: str, values: np.ndarray, dtype: str, categories: Sequence[Any] | None) -> Any:
    if values.dtype == object:
        texts = polars.Series(name, list(values), dtype=polars.String)
        if dtype == "Enum":
            return texts.cast(polars.Enum(list(categories or [])))
        return texts.cast(polars.Categorical) if dtype.startswith(("Categorical", "category")) else texts
    missing = np.isnan(values)
    known = np.where(missing, 0.0, values)
    if dtype.startswith(("Date", "datetime", "object:date")):
        series = _polars_times(polars, polars.Series(name, np.rint(known * 1e6).astype(np.int64)), dtype)
    elif dtype.lower().startswith("bool"):
        series = polars.Series(name, known >= 0.5)
    else:
        whole, kind = dtype.lower().startswith(("int", "uint")), _nullable(dtype).replace("float", "Float")
        series = polars.Series(name, np.rint(known) if whole else known).cast(getattr(polars, kind, polars.Float64))
    return series.set(polars.Series(missing), None) if missing.any() else series


def _polars_times(polars: Any, micro: Any, dtype: str) -> Any:
    series = micro.cast(polars.Datetime("us"))
    if dtype == "Date":
        return series.cast(polars.Date)
    match = re.fullmatch(r"Datetime\(time_unit='(\w+)', time_zone=(?:None|'(.*)')\)", dtype)
    if match is None:
        return series
    unit, zone = match.groups()
    series = series.dt.replace_time_zone("UTC").dt.convert_time_zone(zone) if zone else series
    return series.cast(polars.Datetime(unit, zone))


def shallow(frame: Any) -> Any:
    """A copy whose columns can be replaced; it shares what it can with the frame, where the library guards that."""
    if library(frame) == "polars":
        return frame.clone()
    pandas = require("pandas", "tabular", "a pandas DataFrame")
    return frame.copy(deep=int(pandas.__version__.split(".")[0]) < 3)  # from 3 on, what is shared is copied on writing


def missing_rows(frame: Any, name: str) -> np.ndarray:
    """The numbers of the rows whose cell is missing."""
    series = frame[name]
    if library(frame) == "pandas":
        return np.flatnonzero(np.asarray(series.isna()))
    missing = series.is_null() | (series.is_nan() if series.dtype.is_float() else False)
    return np.asarray(missing.arg_true().to_numpy())


def fill(
    frame: Any, name: str, rows: np.ndarray, values: np.ndarray, dtype: str, categories: Sequence[Any] | None
) -> Any:
    """The frame with these values in these rows of a column; the other cells keep their bits, and the dtype.

    A column that is wholly missing does not tell what it holds, and gets ``dtype``.
    """
    if not len(rows):
        return frame
    kind = library(frame)
    read = frame[name].dtype if kind == "pandas" else None
    if len(rows) < len(frame):
        dtype = (plain(frame, name) if str(read) == "object" else plain(frame, name, slice(0, 0))).dtype
    new = build(kind, {name: (values, dtype, categories)})[name]
    if kind == "polars":
        polars = require("polars", "tabular", "a polars DataFrame")
        if len(rows) == len(frame):
            return frame.with_columns(new.alias(name))
        at = np.zeros(len(frame), dtype=np.int64)
        at[rows] = np.arange(len(rows))
        chosen = np.zeros(len(frame), dtype=bool)
        chosen[rows] = True
        return frame.with_columns(new.gather(at).zip_with(polars.Series(chosen), frame[name]).alias(name))
    if len(rows) == len(frame):
        frame[name] = new.array
        return frame
    column = frame[name].copy()
    column.iloc[rows] = new.array
    frame[name] = column
    return frame
