"""Groups of a version."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np
from numpy.typing import DTypeLike

from vh5d.hdf5.stubs import is_dataset
from vh5d.versioned.creation import create_anonymous, to_be_held
from vh5d.versioned.dataset import InMemoryArrayDataset
from vh5d.versioned.duplicate import duplicate
from vh5d.versioned.member import Member
from vh5d.versioned.stage import Stage

Name = str | bytes


class InMemoryGroup(Member, h5py.Group):  # type: ignore[misc]
    """A group of a version: h5py's, in the draft while staged, read-only when committed.

    Parameters
    ----------
    bind
        h5py's GroupID, in the draft or in the store.
    stage
        The version being staged; None when it is committed.
    top
        The version's group; None when it is this one.
    """

    def __init__(self, bind: Any, stage: Stage | None = None, top: Any | None = None) -> None:
        super().__init__(bind)
        self._begin(stage, top)
        if stage is not None:
            stage.node_of(bind)

    def __repr__(self) -> str:
        if not self.id:
            return f"<Closed {type(self).__name__}>"
        if self._stage is None:
            return f"<Committed {self.described()}>"
        head = f"<{self.described()} ({len(self)} members)>"
        return "\n".join([head, *(textwrap.indent(repr(each), "  ") for each in self.values())])

    def _wrap(self, opened: Any) -> Any:
        if isinstance(opened, h5py.Group):
            return InMemoryGroup(opened.id, self._stage, self._top)
        if isinstance(opened, h5py.Dataset):
            return InMemoryArrayDataset(opened.id, self._stage, self._top)
        return opened

    def _reach(self, name: Any, *, last: bool = True) -> None:
        if self._stage is not None and isinstance(name, str | bytes):
            self._stage.reach(self.id, self._e(name), last=last)

    def _to_write(self, name: Any) -> Stage:
        """Make ready to write at a path.

        Raises
        ------
        ValueError
            The version is committed, or the path leads out of it.
        """
        stage = self._writable()
        if isinstance(name, str | bytes):
            path = name.decode() if isinstance(name, bytes) else name
            if path.startswith("/") and not path.startswith(f"{stage.path}/"):
                raise ValueError(
                    f"{path!r} does not lie in the version: name it relative to one of its groups"
                )
            self._reach(name, last=False)
        return stage

    # Reading

    def __getitem__(self, name: Any) -> Any:
        """Open an object by its path or a reference."""
        self._reach(name)
        return self._wrap(super().__getitem__(name))

    def get(
        self,
        name: Any,
        default: Any = None,
        getclass: bool = False,  # noqa: FBT001, FBT002 - h5py's
        getlink: bool = False,  # noqa: FBT001, FBT002 - h5py's
        **access: Any,
    ) -> Any:
        """Return an object, its class, or the link to it, as h5py does."""
        self._reach(name, last=not getlink)
        return self._wrap(super().get(name, default, getclass, getlink, **access))

    def __contains__(self, name: Any) -> bool:
        self._reach(name)
        return bool(super().__contains__(name))

    def visit(self, func: Callable[[str], Any]) -> Any:
        """Call a function with the name of every object below the group."""
        self._reach_all()
        return super().visit(func)

    def visititems(self, func: Callable[[str, Any], Any]) -> Any:
        """Call a function with the name of every object below the group, and the object."""
        self._reach_all()
        return super().visititems(func)

    def visit_links(self, func: Callable[[str], Any]) -> Any:
        """Call a function with the name of every link below the group."""
        self._reach_all()
        return super().visit_links(func)

    def visititems_links(self, func: Callable[[str, Any], Any]) -> Any:
        """Call a function with the name of every link below the group, and the link."""
        self._reach_all()
        return super().visititems_links(func)

    def _reach_all(self) -> None:
        if self._stage is not None:
            self._stage.reach_all(self.id)

    # Creating

    def create_group(self, name: Name, track_order: Any = None, **times: Any) -> Any:
        """Make a group, as h5py does.

        Raises
        ------
        ValueError
            The name is taken, or absolute.
        """
        self._to_write(name)
        return self._wrap(super().create_group(name, track_order, **times))

    def create_dataset(
        self,
        name: Name | None,
        shape: Any = None,
        dtype: DTypeLike | None = None,
        data: Any = None,
        **kwds: Any,
    ) -> Any:
        """Make a dataset, as h5py does; one whose `maxshape` is not given grows without limit."""
        stage = self._to_write(name)
        if name and name in self:
            return super().create_dataset(name, shape=(), dtype="i1")  # refused in h5py's words
        create = super().create_dataset
        if to_be_held(shape, dtype, data, kwds) and stage.values.may_hold(data.nbytes):
            made, implicit = create_anonymous(create, data.shape, data.dtype, None, kwds)
            stage.values.hold(stage.node_of(made.id), data)
        else:
            made, implicit = create_anonymous(create, shape, dtype, data, kwds)
        node = stage.node_of(made.id)
        node.implicit = implicit
        if not name:
            return self._wrap(made)
        super().__setitem__(name, made)
        return self[name]

    def create_virtual_dataset(self, name: Name, layout: Any, fillvalue: Any = None) -> Any:
        """Make a virtual dataset, as h5py does."""
        self._to_write(name)
        super().create_virtual_dataset(name, layout, fillvalue)
        return self[name]

    def require_dataset(
        self,
        name: Name,
        shape: Any,
        dtype: DTypeLike,
        exact: bool = False,  # noqa: FBT001, FBT002 - h5py's
        **kwds: Any,
    ) -> Any:
        """Open a dataset, or make it, as h5py does."""
        self._to_write(name)
        self._reach(name)
        super().require_dataset(name, shape, dtype, exact, **kwds)
        return self[name]

    def __setitem__(self, name: Name, obj: Any) -> None:
        """Link an object, or make a dataset of values; values replace those of a dataset."""
        stage = self._to_write(name)
        if isinstance(obj, h5py.HLObject):
            super().__setitem__(name, stage.in_draft(obj))
        elif isinstance(obj, h5py.SoftLink | h5py.ExternalLink | np.dtype):
            super().__setitem__(name, obj)
        elif self.get(name, getclass=True) is h5py.Dataset:
            self._replace(name, obj)
        else:
            super().__setitem__(name, obj)

    def _replace(self, name: Name, values: Any) -> None:
        old = self[name]
        new = self.create_dataset(None, data=values)
        fits = old.shape is not None and new.shape is not None and len(old.shape) == len(new.shape)
        if fits and old.dtype == new.dtype and old.shape == new.shape:
            old[...] = values
            return
        if fits and old.dtype == new.dtype and old.chunks is not None and _grows(old, new.shape):
            old.resize(new.shape)
            old[...] = values
            return
        for key, value in old.attrs.items():
            new.attrs[key] = value
        super().__delitem__(name)
        super().__setitem__(name, new)

    # Links

    def __delitem__(self, name: Name) -> None:
        """Unlink an object."""
        self._to_write(name)
        super().__delitem__(name)

    def move(self, source: Name, dest: Name) -> None:
        """Move a link, as h5py does."""
        self._to_write(source)
        self._to_write(dest)
        super().move(source, dest)

    def _put_values_in_draft(self, source: Any) -> None:
        """Make ready what HDF5 is to copy to another file, out of the draft."""
        origin = source if isinstance(source, h5py.HLObject) else self.get(source)
        stage = self._stage
        if stage is None or origin is None or not stage.owns(origin):
            return
        if isinstance(origin, h5py.Group):
            stage.reach_all(origin.id)
        for node in stage.objects(origin.id):
            if is_dataset(node.id):
                stage.values.thaw(node)

    def copy(self, source: Any, dest: Any, name: str | None = None, **options: Any) -> None:
        """Copy an object with what is below it, as h5py does."""
        target = dest if isinstance(dest, h5py.HLObject) else self
        if not isinstance(target, InMemoryGroup):
            self._put_values_in_draft(source)
            super().copy(source, dest, name, **options)
            return
        stage = target._to_write(name if target is not self else dest)  # noqa: SLF001
        if not isinstance(source, h5py.HLObject) and source not in self:
            super().copy(source, dest, name, **options)  # refused in h5py's words
        origin = source if isinstance(source, h5py.HLObject) else self[source]
        where = _destination(origin, source, name) if isinstance(dest, h5py.HLObject) else dest
        original = stage.in_draft(origin)
        if isinstance(original, h5py.Group) and stage.owns(original):
            stage.reach_all(original.id)
        h5py.Group.copy(target, original, where, **options)
        if stage.owns(original):
            duplicate(stage, original, h5py.Group.__getitem__(target, where))


def _grows(dataset: h5py.Dataset, shape: tuple[int, ...]) -> bool:
    return all(
        limit is None or length <= limit
        for limit, length in zip(dataset.maxshape, shape, strict=True)
    )


def _destination(origin: Any, source: Any, name: str | None) -> str:
    if name is not None:
        return name
    path = source if isinstance(source, str) else origin.name
    return str(path).rstrip("/").rsplit("/", 1)[-1]
