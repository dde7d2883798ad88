"""What groups and datasets of a version have in common."""

from __future__ import annotations

import posixpath
from typing import Any

import h5py

from vh5d.versioned.attributes import CommittedAttributes
from vh5d.versioned.stage import Stage


class Member(h5py.HLObject):  # type: ignore[misc]
    """An object of a version: in its draft while that is staged, in the store once committed."""

    _stage: Stage | None
    _top: Any

    def check_writable(self) -> None:
        """Raise ValueError unless the version is being staged."""
        self._writable()

    def _begin(self, stage: Stage | None, top: Any | None) -> None:
        self._stage = stage
        self._top = self if top is None else top
        if stage is not None:
            stage.wrappers.add(self)

    def stage_ended(self, committed: Any | None) -> None:
        """Go on as the committed object; as a closed one when there is none."""
        self._stage = None
        if committed is not None:
            self._id = committed

    def described(self) -> str:
        """Say which object this is."""
        name = f'"{self.name}"' if self.name is not None else "(anonymous)"
        return f"{type(self).__name__} {name}"

    def _writable(self) -> Stage:
        """Return the stage.

        Raises
        ------
        ValueError
            There is none: the object is committed, or closed.
        """
        if self._stage is None:
            if not self.id:
                raise ValueError(f"{type(self).__name__}: its version is not open any more")
            raise ValueError(f"{self.described()} has already been committed")
        return self._stage

    @property
    def attrs(self) -> h5py.AttributeManager:
        """Attributes of the object, read-only when it is committed."""
        return super().attrs if self._stage is not None else CommittedAttributes(self)

    @property
    def file(self) -> h5py.File:
        """The file with the versions."""
        return super().file if self._stage is None else self._stage.store

    @property
    def parent(self) -> Any:
        """The group that holds the object.

        Raises
        ------
        ValueError
            The object has no name.
        """
        if self.name is None:
            raise ValueError("Parent of an anonymous object is undefined")
        top = self._top
        above = posixpath.dirname(self.name)
        if above == top.name:
            return top
        if above.startswith(f"{top.name}/"):
            return top[above[len(top.name) + 1 :]]
        return self.file[above]
