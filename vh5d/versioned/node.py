"""An object of a version that is being staged."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from vh5d.hdf5.address import address_of
from vh5d.hdf5.dataset_info import open_dataset
from vh5d.hdf5.stubs import is_array, is_dataset
from vh5d.hdf5.walk import SourceLink
from vh5d.versioned.array import StagedArray


@dataclass(eq=False)
class Node:
    """An object of the draft.

    Attributes
    ----------
    id
        Its low-level identifier in the draft, which keeps its address its own.
    base
        Identifier of the committed object that it stands for, if any.
    links
        Of a group: those of `base` when they were taken over; None before that.
    waiting
        Of a group: addresses of the committed objects that its placeholders stand for, by name.
    source
        Of a dataset: identifier of the committed dataset whose values it has, or had before they
        were changed in `array`; None when its values are all in the draft, or in `array`.
    implicit
        Of a dataset: whether nobody chose how it is stored.
    array
        Of a dataset whose values are those of `source` with changes, or of a new one whose values
        are kept beside the draft.
    cut
        Whether `array` was ever made smaller.
    """

    id: Any
    base: Any | None = None
    links: tuple[SourceLink, ...] | None = None
    waiting: dict[bytes, int] = field(default_factory=dict)
    source: Any | None = None
    implicit: bool = False
    array: StagedArray | None = None
    cut: bool = False

    @cached_property
    def holds_array(self) -> bool:
        """Whether it is a dataset of plain elements, which chunks can be cut from."""
        return is_dataset(self.id) and is_array(open_dataset(self.id))

    @property
    def base_address(self) -> int | None:
        """Address of the committed object."""
        return None if self.base is None else address_of(self.base)
