"""Who may read a store."""

from __future__ import annotations

import grp
from dataclasses import dataclass

from vh5d.errors import UsageError


@dataclass(frozen=True)
class Access:
    """Permissions and group that a store is to have.

    Attributes
    ----------
    mode
        Permission bits; None: as they come.
    group
        Group number; None: that of the process.
    """

    mode: int | None
    group: int | None

    @classmethod
    def asked(cls, mode: int | None, group: str | None) -> Access:
        """Look the group up.

        Raises
        ------
        UsageError
            There is no such group.
        """
        if group is None:
            return cls(mode, None)
        try:
            return cls(mode, grp.getgrnam(group).gr_gid)
        except KeyError:
            raise UsageError(
                f"there is no group {group!r}", hint="make it, or name another"
            ) from None

    def first_mode(self, otherwise: int) -> int:
        """Return what a new store is made with: what it is to have, less what its group may.

        The group is given afterwards; until then the process's own must not read it.
        """
        mode = otherwise if self.mode is None else self.mode
        return mode & ~0o077 if self.group is not None else mode

    def mode_of(self, otherwise: int, *, new: bool) -> int | None:
        """Return what a store is to have; None: what it has.

        Parameters
        ----------
        otherwise
            What a new store is made with when nothing is asked.
        new
            Whether it is new.
        """
        if self.mode is None and new and self.group is not None:
            return otherwise
        return self.mode
