"""A folder of pictures as one array."""

from __future__ import annotations

import struct
import warnings
import zlib
from pathlib import Path
from typing import Any, NamedTuple

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
    image = require("PIL.Image", "image", "reading a folder of images")
    files = [f for f in sorted(folder.rglob("*")) if f.suffix.lower() in _ENDINGS and f.is_file()]
    names = [f.relative_to(folder).as_posix() for f in files]
    visible = [i for i, name in enumerate(names) if not any(p.startswith(".") for p in name.split("/"))]
    if not visible:
        raise InputError(f"{folder} holds no images ({', '.join(sorted(_ENDINGS))})")
    names = [names[i] for i in visible]
    pictures: list[np.ndarray] = []
    for i, name in zip(visible, names, strict=True):
        pictures.append(_picture(image, files[i], name))
        _check_alike(pictures[0], names[0], pictures[-1], name)
    colour = any(p.ndim == 3 for p in pictures)
    x = np.stack([_in_colour(p) if colour else p for p in pictures])
    parents = [name.rpartition("/")[0] or "." for name in names]
    labels = np.array(parents) if len(set(parents)) > 1 else None
    return Pictures(x, labels, float(np.iinfo(x.dtype).max))


def _picture(image: Any, file: Path, name: str) -> np.ndarray:
    """(H, W) if the picture is grey, else (3, H, W)."""
    try:
        with warnings.catch_warnings():  # Pillow's remarks on metadata and size: what it cannot read, it raises
            warnings.simplefilter("ignore")
            with image.open(file) as picture:
                deep = picture.mode in _DEEP
                as_is = deep or picture.mode == "F"
                array = np.asarray(picture if as_is else picture.convert("L" if picture.mode in _GREY else "RGB"))
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, RuntimeError, struct.error,
            zlib.error, image.DecompressionBombError) as error:  # fmt: skip
        raise InputError(f"{name} is no image that can be read: mend or remove it") from error
    if array.dtype.kind == "f" or (deep and (array.min() < 0 or array.max() > 65535)):
        raise InputError(f"{name} has pixels of 32 bits: save the images with 8 or 16 bits, or as one .npy file")
    array = array.astype(np.uint16 if deep else np.uint8)
    return np.ascontiguousarray(array.transpose(2, 0, 1)) if array.ndim == 3 else array


def _check_alike(first: np.ndarray, first_name: str, other: np.ndarray, name: str) -> None:
    (h0, w0), (h, w) = first.shape[-2:], other.shape[-2:]
    if (h0, w0) != (h, w):
        raise InputError(f"{name} is {w} x {h}, {first_name} is {w0} x {h0}: make all images one size")
    if first.dtype != other.dtype:
        raise InputError(
            f"{name} has {8 * other.itemsize} bits for each pixel, {first_name} has {8 * first.itemsize}: make all "
            "images one depth"
        )


def _in_colour(picture: np.ndarray) -> np.ndarray:
    return picture if picture.ndim == 3 else np.broadcast_to(picture, (3, *picture.shape))
