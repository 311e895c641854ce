"""Results to files, by their ending; each is written whole or not at all."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from reparam.data import Schema
from reparam.errors import InputError, require
from reparam.networks.convolution import image_layout
from reparam.run import atomic_write

TABLES = (".npy", ".npz", ".csv", ".parquet")
PICTURES = (*TABLES, ".png")


def write_array(path: Path, array: np.ndarray, columns: Sequence[str] | None, key: str = "x") -> None:
    """An array (N, ...) as .npy, .npz (under ``key``), or flattened to a table with these columns."""
    ending = path.suffix.lower()
    buffer = io.BytesIO()
    if ending == ".npy":
        np.save(buffer, array, allow_pickle=False)
    elif ending == ".npz":
        np.savez(buffer, allow_pickle=False, **{key: array})
    else:
        flat = array.reshape(len(array), -1)
        names = list(columns) if columns else [f"{key}{i}" for i in range(flat.shape[1])]
        write_columns(path, {name: flat[:, i] for i, name in enumerate(names)})
        return
    atomic_write(path, buffer.getvalue())


def write_columns(path: Path, columns: dict[str, np.ndarray]) -> None:
    """Named columns of one length: .csv, .parquet or .npz; an .npy holds the first of them."""
    ending = path.suffix.lower()
    buffer = io.BytesIO()
    if ending == ".npy":
        np.save(buffer, next(iter(columns.values())), allow_pickle=False)
    elif ending == ".npz":
        np.savez(buffer, allow_pickle=False, **columns)
    elif ending == ".parquet":
        arrow, parquet = require("pyarrow", "tabular", "writing Parquet"), require("pyarrow.parquet", "tabular", "")
        parquet.write_table(arrow.table(columns), buffer)
    else:
        lines = [",".join(map(_quoted, columns))]
        lines += [",".join(map(_number, row)) for row in zip(*(c.tolist() for c in columns.values()), strict=True)]
        buffer.write(("\n".join(lines) + "\n").encode())
    atomic_write(path, buffer.getvalue())


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"' if any(c in name for c in ',"\n\r;\t') else name


def _number(value: float | int | bool) -> str:
    return repr(int(value)) if isinstance(value, bool) else repr(value)


def write_data(path: Path, array: np.ndarray, schema: Schema) -> None:
    """Data as the schema describes them, or as a grid of images where the file is a .png."""
    if path.suffix.lower() == ".png":
        atomic_write(path, grid_png(array, schema))
    else:
        write_array(path, array, schema.columns)


def check_picture(path: Path, schema: Schema) -> None:
    """Refuse a .png for data that are no images, before any work."""
    if path.suffix.lower() == ".png" and not 2 <= len(schema.event_shape) <= 3:
        raise InputError(f"data of shape {schema.event_shape} are no images: choose one of {' '.join(TABLES)}")


def grid_png(array: np.ndarray, schema: Schema) -> bytes:
    """Images (N, *event) in rows and columns on one picture, with a pixel between them."""
    pillow = require("PIL.Image", "image", "writing PNG")
    channels, height, width, last = image_layout(schema.event_shape)
    if channels not in (1, 3):
        raise InputError(f"images of {channels} channels cannot be written as PNG: choose one of {' '.join(TABLES)}")
    values = array.astype(np.float64)
    if not last:
        values = values.reshape(len(values), channels, height, width).transpose(0, 2, 3, 1)
    low, high = (0.0, float(schema.pixel_max)) if schema.pixel_max else (min(0.0, values.min()), max(1.0, values.max()))
    pixels = ((values - low) / (high - low) * 255).clip(0, 255).round().astype(np.uint8)
    across = int(np.ceil(np.sqrt(len(pixels))))
    down = -(-len(pixels) // across)
    sheet = np.full((down * (height + 1) - 1, across * (width + 1) - 1, channels), 128, np.uint8)
    for i, picture in enumerate(pixels):
        y, x = i // across * (height + 1), i % across * (width + 1)
        sheet[y : y + height, x : x + width] = picture
    buffer = io.BytesIO()
    image = pillow.fromarray(sheet[..., 0] if channels == 1 else sheet)
    zoom = max(1, 960 // max(image.size))
    image.resize((image.width * zoom, image.height * zoom), pillow.Resampling.NEAREST).save(buffer, "PNG")
    return buffer.getvalue()
