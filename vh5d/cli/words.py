"""Datasets, attributes and values in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vh5d.cli.text import printable

if TYPE_CHECKING:
    from vh5d.store.attributes import Attribute
    from vh5d.store.boxes import Box
    from vh5d.store.describe import DatasetDescription

LONGEST = 60


def of_dataset(each: DatasetDescription) -> str:
    """Return a dataset in words: ``uint16 (100, 512, 512), chunks (1, 512, 512), shuffle``."""
    words = [f"{printable(each.type)} {shape(each.shape)}"]
    if each.maxshape is not None and each.maxshape != each.shape:
        words.append(f"at most {shape(each.maxshape)}")
    if each.chunks is not None:
        words.append(f"chunks {shape(each.chunks)}")
    if each.filters:
        words.append(" + ".join(map(printable, each.filters)))
    if each.elsewhere:
        words.append("values in other files")
    return ", ".join(words)


def shape(extents: tuple[int | None, ...] | None) -> str:
    """Return a shape: ``(3, ∞)``, ``scalar``, ``null``."""
    if extents is None:
        return "null"
    if not extents:
        return "scalar"
    return f"({', '.join('∞' if n is None else str(n) for n in extents)})"


def attribute(each: Attribute) -> str:
    """Return an attribute's value; its type too when the value does not tell."""
    if each.shape is None:
        return "null" if each.value is None else printable(str(each.value))
    return value(each.value)


def value(each: Any) -> str:
    """Return a value on part of a line."""
    if isinstance(each, str):
        return _short(f'"{printable(each)}"')
    if isinstance(each, dict):
        return _short("{" + ", ".join(f"{name}: {value(v)}" for name, v in each.items()) + "}")
    if isinstance(each, list | tuple):
        shown = each[: LONGEST // 2]
        more = ", …" if len(each) > len(shown) else ""
        return _short(f"[{', '.join(map(value, shown))}{more}]")
    if isinstance(each, float):
        return number(each)
    return "null" if each is None else str(each)


def number(each: float) -> str:
    """Return a number to six digits; an integer whole."""
    return str(each) if isinstance(each, int) else f"{each:.6g}"


def box(each: Box) -> str:
    """Return a box as an index: ``[0:10, 512]``."""
    ranges = (
        str(a) if z == a + 1 else f"{a}:{z}" for a, z in zip(each.start, each.stop, strict=True)
    )
    return f"[{', '.join(ranges)}]"


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
