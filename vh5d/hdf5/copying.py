"""Builds objects of one file again in another.

In two steps, because references need both ends. First all objects and links are made, with their
values but without attributes (`copy_object`, `copy_link`); then, when everything has its place,
`copy_attributes` and `rewrite_references`.
"""

from __future__ import annotations

from typing import Any

from h5py import h5d, h5g, h5o, h5p

from vh5d.hdf5 import native
from vh5d.hdf5.address import link_properties
from vh5d.hdf5.dataset_info import OpenDataset, Storage, allocated_blocks, open_dataset
from vh5d.hdf5.references import Translate, Translator
from vh5d.hdf5.walk import LinkKind, SourceLink


def copy_object(source: Any, target_parent: Any, name: bytes, *, utf8: bool = False) -> Any:
    """Make an object again under `name`, without attributes and, for a group, without links.

    Datasets come with their values, chunked and large ones too, except those whose values are in
    other files: of these only the definition is kept, and the other files are not opened. Paths in
    the definition stay as they are. References come out null or meaningless until
    `rewrite_references`.

    Parameters
    ----------
    source
        The source object's low-level identifier.
    target_parent
        Identifier of the group to link it into.
    name
        Name of the link.
    utf8
        Whether to mark the name as UTF-8.

    Returns
    -------
    ObjectID
        The new object.

    Raises
    ------
    OSError, RuntimeError, ValueError
        What HDF5 said: a filter is missing that variable-length data went through, a name is taken.
    """
    lcpl = link_properties(utf8=utf8)
    if isinstance(source, h5g.GroupID):
        made = h5g.create(target_parent, name, lcpl=lcpl, gcpl=group_properties(source))
        _copy_comment(source, made)
        return made
    if isinstance(source, h5d.DatasetID):
        dataset = open_dataset(source)
        # H5Ocopy leaves a variable-length fill value pointing into the source's heap, and nothing
        # that asks for the creation properties can open such a dataset again.
        if dataset.info.storage is Storage.DEFINITION or not dataset.layout.plain:
            return _make_again(dataset, target_parent, name, lcpl)
    flags = h5p.create(h5p.OBJECT_COPY)
    flags.set_copy_object(h5o.COPY_WITHOUT_ATTR_FLAG)
    h5o.copy(source, b".", target_parent, name, copypl=flags, lcpl=lcpl)
    return h5o.open(target_parent, name)


def _make_again(dataset: OpenDataset, target_parent: Any, name: bytes, lcpl: Any) -> Any:
    type_id = _transient(dataset.type_id)
    made = h5d.create(target_parent, None, type_id, dataset.space, dataset.dcpl)
    if dataset.info.storage is Storage.WHOLE and not dataset.info.has_references:
        for _, space in allocated_blocks(dataset):
            with native.dataset_values(dataset.id, dataset.type_id, space) as values:
                native.write_dataset(made, space, values)
    h5o.link(made, target_parent, name, lcpl=lcpl)
    _copy_comment(dataset.id, made)
    return made


def copy_link(link: SourceLink, target_parent: Any, *, name: bytes | None = None) -> None:
    """Make a soft or external link again, byte for byte.

    Parameters
    ----------
    link
        What to make.
    target_parent
        Identifier of the group to make it in.
    name
        Another name than the source's.

    Raises
    ------
    ValueError
        For hard links, which need an object, and user-defined ones, which only their makers know.
    """
    lcpl = link_properties(utf8=link.utf8)
    name = link.name if name is None else name
    if link.kind is LinkKind.SOFT:
        target_parent.links.create_soft(name, link.target, lcpl=lcpl)
    elif link.kind is LinkKind.EXTERNAL:
        target_parent.links.create_external(name, link.file, link.target, lcpl=lcpl)
    else:
        raise ValueError(f"a {link.kind.value} link cannot be made from its description")


def rewrite_references(
    source: Any, target: Any, translate: Translate, *, path: bytes = b""
) -> list[str]:
    """Write the references among a dataset's values anew, to the copies of what they refer to.

    Attributes are `copy_attributes`' business.

    Parameters
    ----------
    source, target
        Identifiers of a dataset of WHOLE storage and of its copy.
    translate
        Where the copies of referenced objects are; they must all exist by now.
    path
        Path of `source`, for the warnings.

    Returns
    -------
    list of str
        A line when references point at nothing that is kept, and were made null.

    Raises
    ------
    OSError, RuntimeError
        What HDF5 said.
    """
    dataset = open_dataset(source)
    if not dataset.info.has_references or dataset.info.storage is not Storage.WHOLE:
        return []
    translator = Translator(source, target, translate)
    for _, space in allocated_blocks(dataset):
        with native.dataset_values(source, dataset.type_id, space) as values:
            translator.rewrite(dataset.layout, values.address, values.count)
            native.write_dataset(target, space, values)
    if not translator.lost:
        return []
    where = path.decode("utf-8", "backslashreplace")
    return [f"{where}: {translator.lost} references point at nothing that is kept"]


def group_properties(source: Any) -> Any:
    """Make the creation properties of a group like `source`.

    Its own list would not do: it carries the addresses of `source`'s link heap along.
    """
    theirs, ours = source.get_create_plist(), h5p.create(h5p.GROUP_CREATE)
    ours.set_link_creation_order(theirs.get_link_creation_order())
    ours.set_attr_creation_order(theirs.get_attr_creation_order())
    ours.set_attr_phase_change(*theirs.get_attr_phase_change())
    ours.set_obj_track_times(theirs.get_obj_track_times())
    return ours


def _transient(type_id: Any) -> Any:
    return type_id.copy() if type_id.committed() else type_id


def _copy_comment(source: Any, target: Any) -> None:
    comment = native.comment_of(source)
    if comment:
        native.set_comment(target, comment)
