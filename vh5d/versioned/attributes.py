"""Attributes of what is committed: to be read only."""

from __future__ import annotations

from typing import Any, NoReturn

import h5py


class CommittedAttributes(h5py.AttributeManager):  # type: ignore[misc]
    """The attributes of a committed object.

    Parameters
    ----------
    parent
        The object.
    """

    def __init__(self, parent: Any) -> None:
        super().__init__(parent)
        self._refusal = f"{parent.described()} has already been committed"

    def _refuse(self) -> NoReturn:
        raise ValueError(self._refusal)

    def __setitem__(self, name: str, value: Any) -> None:
        self._refuse()

    def __delitem__(self, name: str) -> None:
        self._refuse()

    def create(self, *_: Any, **__: Any) -> None:
        """Refuse."""
        self._refuse()

    def modify(self, *_: Any, **__: Any) -> None:
        """Refuse."""
        self._refuse()
