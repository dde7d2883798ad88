"""Attributes and elements as plain Python values, to be compared and shown."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, TypeAlias

import h5py
import numpy as np

from vh5d.store import layout

_IN_A_VERSION = re.compile(rf"/{layout.VERSIONS}/[^/]+")


@dataclass(frozen=True)
class Attribute:
    """An attribute, read.

    Attributes
    ----------
    type
        As `type_name` says it.
    shape
        None for a null dataspace.
    value
        See `plain`; the text of an error when it cannot be read.
    """

    type: str
    shape: tuple[int, ...] | None
    value: Any


Attributes: TypeAlias = dict[str, Attribute]


def read_attributes(each: h5py.HLObject) -> Attributes:
    """Return all attributes of an object."""
    return {name: _read(each, name) for name in each.attrs}


def _read(each: h5py.HLObject, name: str) -> Attribute:
    try:
        opened, value = each.attrs.get_id(name), each.attrs[name]
        shape = None if isinstance(value, h5py.Empty) else opened.shape
        return Attribute(type_name(opened.dtype), shape, plain(value, each.file))
    except (OSError, RuntimeError, TypeError, ValueError, KeyError) as error:
        return Attribute("?", None, f"unreadable: {error}")


def plain(value: Any, file: h5py.File) -> Any:
    """Return a value as numbers, texts and lists, as JSON has them.

    What JSON does not have becomes text: ``nan``, ``inf``; a reference is ``-> /path``.

    Parameters
    ----------
    value
        What h5py read.
    file
        Where its references lead.
    """
    if isinstance(value, h5py.Empty) or value is None:
        return None
    if isinstance(value, h5py.Reference):
        return _target(value, file)
    if isinstance(value, np.ndarray):
        if value.dtype.kind in "biu" and value.dtype.names is None:
            return value.tolist()
        return [plain(each, file) for each in value]
    if isinstance(value, np.void) and value.dtype.names is not None:
        return {name: plain(value[name], file) for name in value.dtype.names}
    return _scalar(value)


def _scalar(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.tobytes() if isinstance(value, np.void) else value.item()
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return value if isinstance(value, bool | int | str) else str(value)


def _target(reference: h5py.Reference, file: h5py.File) -> str | None:
    if not reference:
        return None
    try:
        name = file[reference].name
    except (OSError, RuntimeError, ValueError, KeyError):
        name = None
    return "-> ?" if name is None else f"-> {_IN_A_VERSION.sub('', name, count=1) or '/'}"


def type_name(dtype: np.dtype[Any]) -> str:
    """Return an element type in words: ``float32``, ``string``, ``enum(uint8)``, ``{x: int32}``."""
    if (text := h5py.check_string_dtype(dtype)) is not None:
        name = "string" if text.length is None else f"string({text.length})"
    elif (element := h5py.check_vlen_dtype(dtype)) is not None:
        name = f"vlen({type_name(np.dtype(element))})"
    elif h5py.check_enum_dtype(dtype) is not None:
        name = "bool" if dtype.kind == "b" else f"enum({dtype.newbyteorder('=').name})"
    elif (reference := h5py.check_ref_dtype(dtype)) is not None:
        name = "reference" if reference is h5py.Reference else "region reference"
    elif dtype.names is not None:
        name = f"{{{', '.join(f'{each}: {type_name(dtype[each])}' for each in dtype.names)}}}"
    elif dtype.subdtype is not None:
        base, shape = dtype.subdtype
        name = f"{type_name(base)}[{', '.join(map(str, shape))}]"
    elif dtype.kind == "V":
        name = f"opaque({dtype.itemsize})"
    else:
        name = dtype.name + (" big-endian" if dtype.byteorder == ">" else "")
    return name
