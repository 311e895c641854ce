"""A folder of pictures as one array."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from reparam.errors import InputError, require

_ENDINGS = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp"}
_GREY = {"1", "L", "LA"}
_DEEP = {"I;16", "I;16L", "I;16B", "I;16N", "I"}  # 16 bits of grey; older Pillow calls them I, of 32


class Pictures(NamedTuple):
    """Shapes: x (N, H, W) if all are grey, else (N, 3, H, W); labels (N,). ``white`` is the value of white."""

    x: np.ndarray
    labels: np.ndarray | None
    white: float


def load_images(folder: Path) -> Pictures:
    """The pictures of a folder and those below it, in the order of their names; the subfolders are labels.

    Pictures are uint8, or uint16 if all are grey with 16 bits. Transparency is dropped, of moving pictures the first
    frame is read, and hidden files and folders are left out.

    Raises:
        InputError: for no pictures, one that cannot be read, or different sizes or depths.
    """
    names = names_of(folder)
    pictures: list[np.ndarray] = []
    for name in names:
        pictures.append(picture(folder / name, name))
        check_alike(pictures[0], names[0], pictures[-1], name)
    colour = any(p.ndim == 3 for p in pictures)
    x = np.stack([in_colour(p) if colour else p for p in pictures])
    parents = [name.rpartition("/")[0] or "." for name in names]
    labels = np.array(parents) if len(set(parents)) > 1 else None
    return Pictures(x, labels, float(np.iinfo(x.dtype).max))


def names_of(folder: Path) -> list[str]:
    """The pictures of a folder and those below it, sorted; what is hidden is left out.

    Raises:
        InputError: where there are none.
    """
    files = [f for f in sorted(folder.rglob("*")) if is_picture(f.name) and f.is_file()]
    names = [f.relative_to(folder).as_posix() for f in files]
    visible = [name for name in names if not any(p.startswith(".") for p in name.split("/"))]
    if not visible:
        raise InputError(f"{folder} holds no images ({', '.join(sorted(_ENDINGS))})")
    return visible


def is_picture(name: str) -> bool:
    """Whether a file of this name is a picture."""
    return name.lower().endswith(tuple(_ENDINGS))


def picture(file: Path | io.BytesIO, name: str) -> np.ndarray:
    """(H, W) if the picture is grey, else (3, H, W).

    Raises:
        InputError: for what cannot be read, or has pixels of 32 bits.
    """
    image = require("PIL.Image", "image", "reading images")
    try:
        with warnings.catch_warnings():  # Pillow's remarks on metadata and size: what it cannot read, it raises
            warnings.simplefilter("ignore")
            with image.open(file) as found:
                deep = found.mode in _DEEP
                as_is = deep or found.mode == "F"
                array = np.asarray(found if as_is else found.convert("L" if found.mode in _GREY else "RGB"))
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, RuntimeError, struct.error,
            zlib.error, image.DecompressionBombError) as error:  # fmt: skip
        raise InputError(f"{name} is no image that can be read: mend or remove it") from error
    if array.dtype.kind == "f" or (deep and (array.min() < 0 or array.max() > 65535)):
        raise InputError(f"{name} has pixels of 32 bits: save the images with 8 or 16 bits, or as one .npy file")
    array = array.astype(np.uint16 if deep else np.uint8)
    return np.ascontiguousarray(array.transpose(2, 0, 1)) if array.ndim == 3 else array


def check_alike(first: np.ndarray, first_name: str, other: np.ndarray, name: str) -> None:
    """Refuse pictures of different sizes or depths.

    Raises:
        InputError: naming both.
    """
    (h0, w0), (h, w) = first.shape[-2:], other.shape[-2:]
    if (h0, w0) != (h, w):
        raise InputError(f"{name} is {w} x {h}, {first_name} is {w0} x {h0}: make all images one size")
    if first.dtype != other.dtype:
        raise InputError(
            f"{name} has {8 * other.itemsize} bits for each pixel, {first_name} has {8 * first.itemsize}: make all "
            "images one depth"
        )


def in_colour(picture: np.ndarray) -> np.ndarray:
    """(3, H, W), of a grey picture three times the same."""
    return picture if picture.ndim == 3 else np.broadcast_to(picture, (3, *picture.shape))
