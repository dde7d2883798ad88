"""Compares two HDF5 trees by means of plain h5py, knowing nothing of vh5d.

What counts: links and their order, what is linked twice, types, dataspaces, creation properties,
attributes with their order, values. References count by the object that they lead to.
"""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np
from h5py import h5, h5a, h5d, h5o, h5r, h5s


def differences(
    a: h5py.Group,
    b: h5py.Group,
    *,
    but_root_attributes: tuple[str, ...] = (),
    data: bool = True,
    storage: bool = True,
) -> list[str]:
    """Return what differs between two trees, a line each; none when they are the same.

    `but_root_attributes` are names that only `b`'s root may have. Without `storage`, layout, chunks
    and filters may differ.
    """
    return _Comparison(a, b, but_root_attributes, data=data, storage=storage).run()


class _Comparison:
    def __init__(self, a: Any, b: Any, but: tuple[str, ...], *, data: bool, storage: bool) -> None:
        self.a, self.b, self.but, self.data, self.storage = a, b, but, data, storage
        self.found: list[str] = []
        self.partner: dict[int, int] = {}
        self.references: list[tuple[int, int]] = []

    def run(self) -> list[str]:
        pending = [("/", h5o.open(self.a.id, b"."), h5o.open(self.b.id, b"."))]
        while pending:
            path, a, b = pending.pop()
            address_a, address_b = h5o.get_info(a).addr, h5o.get_info(b).addr
            known = self.partner.setdefault(address_a, address_b)
            if known != address_b:
                self.found.append(f"{path}: linked more than once in one tree only")
            elif len(set(self.partner.values())) != len(self.partner):
                self.found.append(f"{path}: shared in b, two objects in a")
                self.partner[address_a] = -address_a
            if type(a) is not type(b):
                self.found.append(f"{path}: {type(a).__name__} is {type(b).__name__}")
                continue
            self.attributes(path, a, b)
            if isinstance(a, h5py.h5d.DatasetID):
                self.dataset(path, a, b)
            elif isinstance(a, h5py.h5g.GroupID):
                pending += self.links(path, a, b)
            else:
                self.same(f"{path}: type", a.encode(), b.encode(), a.equal(b))
        for address_a, address_b in self.references:
            if address_a and self.partner.get(address_a, address_b) != address_b:
                self.found.append("a reference leads to another object")
        return self.found

    def same(self, what: str, a: Any, b: Any, equal: bool | None = None) -> None:
        if not (a == b if equal is None else equal):
            self.found.append(f"{what}: {str(a)[:200]} is {str(b)[:200]}")

    def links(self, path: str, a: Any, b: Any) -> list[tuple[str, Any, Any]]:
        names = [_link_names(a), _link_names(b)]
        self.same(f"{path}: links", *names)
        self.same(
            f"{path}: link order",
            a.get_create_plist().get_link_creation_order(),
            b.get_create_plist().get_link_creation_order(),
        )
        below = []
        for name in names[0]:
            if name not in names[1]:
                continue
            infos = [a.links.get_info(name), b.links.get_info(name)]
            child = f"{path.rstrip('/')}/{name.decode(errors='backslashreplace')}"
            kinds = [i.type for i in infos]
            self.same(f"{child}: kind of link", *kinds)
            self.same(f"{child}: character set", infos[0].cset, infos[1].cset)
            if kinds[0] != kinds[1]:
                continue
            if kinds[0] != h5py.h5l.TYPE_HARD:
                self.same(f"{child}: target", a.links.get_val(name), b.links.get_val(name))
            elif self.new(a, b, name):
                below.append((child, h5o.open(a, name), h5o.open(b, name)))
        return below

    def new(self, a: Any, b: Any, name: bytes) -> bool:
        pair = [h5o.get_info(loc, name).addr for loc in (a, b)]
        return self.partner.get(pair[0]) != pair[1]

    def dataset(self, path: str, a: Any, b: Any) -> None:
        ta, tb = a.get_type(), b.get_type()
        self.same(f"{path}: type", ta.encode().hex(), tb.encode().hex(), ta.equal(tb))
        pa, pb = a.get_create_plist(), b.get_create_plist()
        of = _properties if self.storage else _fill_properties
        self.same(f"{path}: creation properties", of(pa), of(pb))
        if pa.get_layout() == h5d.VIRTUAL or pa.get_external_count():
            return
        self.same(f"{path}: dataspace", _extent(a.get_space()), _extent(b.get_space()))
        if self.data:
            self.values(f"{path}: values", h5py.Dataset(a), h5py.Dataset(b))

    def values(self, what: str, a: h5py.Dataset, b: h5py.Dataset) -> None:
        if a.shape is None or b.shape is None or a.shape != b.shape:
            return
        if a.nbytes > 1 << 28:  # mostly never written
            return
        try:
            read = a.id.dtype
        except (TypeError, ValueError):
            return
        va, vb = (np.empty(d.shape, read) for d in (a, b))
        try:
            a.id.read(h5s.ALL, h5s.ALL, va)
        except OSError as error:
            self.same(what, f"unreadable: {error}", "", equal=False)
            return
        b.id.read(h5s.ALL, h5s.ALL, vb)
        if not self.equal(va, vb):
            self.found.append(f"{what}: {str(va)[:200]} is {str(vb)[:200]}")

    def attributes(self, path: str, a: Any, b: Any) -> None:
        names = [_attribute_names(a), _attribute_names(b)]
        if path == "/":
            names[1] = [n for n in names[1] if n.decode() not in self.but]
        self.same(f"{path}: attributes", *names)
        for name in set(names[0]) & set(names[1]):
            what = f"{path}: attribute {name!r}"
            aa, ab = h5a.open(a, name), h5a.open(b, name)
            ta, tb = aa.get_type(), ab.get_type()
            self.same(f"{what}, type", ta.encode().hex(), tb.encode().hex(), ta.equal(tb))
            self.same(f"{what}, dataspace", _extent(aa.get_space()), _extent(ab.get_space()))
            sets = [h5a.get_info(loc, name).cset for loc in (a, b)]
            self.same(f"{what}, character set", *sets)
            values = _attribute_value(aa), _attribute_value(ab)
            if not self.equal(*values):
                self.found.append(f"{what}: {str(values[0])[:200]} is {str(values[1])[:200]}")

    def equal(self, a: Any, b: Any) -> bool:
        if type(a) is not type(b):
            return False
        if isinstance(a, h5r.Reference):
            of_a, address_a = self.reference(self.a, a)
            of_b, address_b = self.reference(self.b, b)
            self.references.append((address_a, address_b))
            return bool(of_a == of_b)
        if isinstance(a, np.ndarray | np.void) and a.dtype.hasobject:
            if a.dtype.names:
                return a.shape == b.shape and all(
                    self.equal(a[name], b[name]) for name in a.dtype.names
                )
            return a.shape == b.shape and all(
                self.equal(x, y) for x, y in zip(a.flat, b.flat, strict=True)
            )
        if isinstance(a, np.ndarray | np.generic):
            return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
        return bool(a == b)

    def reference(self, root: Any, reference: Any) -> Any:
        """Return what kind of thing a reference leads to, and its address."""
        if not reference:
            return None, 0
        try:
            target = h5r.dereference(reference, root.id)
        except (ValueError, OSError, RuntimeError):
            return None, 0  # it dangles, which a copy cannot
        if target is None:
            return None, 0
        region: Any = None
        if isinstance(reference, h5r.RegionReference):
            region = _selection(h5r.get_region(reference, root.id))
        return (type(target), region), h5o.get_info(target).addr


def _link_names(group: Any) -> list[bytes]:
    names: list[bytes] = []
    tracked = group.get_create_plist().get_link_creation_order()
    index = h5.INDEX_CRT_ORDER if tracked else h5.INDEX_NAME
    group.links.iterate(names.append, idx_type=index, order=h5.ITER_INC)
    return names


def _attribute_names(loc: Any) -> list[bytes]:
    names: list[bytes] = []
    tracked = loc.get_create_plist().get_attr_creation_order()
    index = h5.INDEX_CRT_ORDER if tracked else h5.INDEX_NAME
    if h5a.get_num_attrs(loc):
        h5a.iterate(loc, names.append, index_type=index, order=h5.ITER_INC)
    return names


def _attribute_value(attribute: Any) -> Any:
    space, type_id = attribute.get_space(), attribute.get_type()
    if space.get_simple_extent_type() == h5s.NULL:
        return None
    try:
        dtype = attribute.dtype
    except (TypeError, ValueError):
        dtype = np.dtype("V1")
    if dtype.hasobject:
        values = np.empty(attribute.shape, dtype)
        attribute.read(values)
    else:
        values = np.zeros(attribute.shape, np.dtype((np.void, type_id.get_size())))
        attribute.read(values, mtype=type_id)
    return values


def _properties(dcpl: Any) -> dict[str, Any]:
    found = {
        "layout": dcpl.get_layout(),
        "chunk": dcpl.get_chunk() if dcpl.get_layout() == h5d.CHUNKED else None,
        "filters": [dcpl.get_filter(i) for i in range(dcpl.get_nfilters())],
        "fill": (dcpl.fill_value_defined(), dcpl.get_fill_time()),
        "allocation": dcpl.get_alloc_time(),
        "attribute order": dcpl.get_attr_creation_order(),
        "external": [dcpl.get_external(i) for i in range(dcpl.get_external_count())],
    }
    if dcpl.get_layout() == h5d.VIRTUAL:
        found["virtual"] = [
            (
                dcpl.get_virtual_filename(i),
                dcpl.get_virtual_dsetname(i),
                _selection(dcpl.get_virtual_vspace(i)),
                _selection(dcpl.get_virtual_srcspace(i)),
            )
            for i in range(dcpl.get_virtual_count())
        ]
    return found


def _fill_properties(dcpl: Any) -> dict[str, Any]:
    return {
        "fill": dcpl.fill_value_defined(),
        "attribute order": dcpl.get_attr_creation_order(),
    }


def _extent(space: Any) -> Any:
    if space.get_simple_extent_type() == h5s.NULL:
        return None
    return space.get_simple_extent_dims(), space.get_simple_extent_dims(True)


def _selection(space: Any) -> Any:
    if space.get_select_type() != h5s.SEL_HYPERSLABS:
        return space.get_select_type(), space.get_select_npoints(), _extent(space)
    if space.is_regular_hyperslab():
        return space.get_regular_hyperslab(), _extent(space)
    return space.get_select_hyper_blocklist().tolist(), _extent(space)
