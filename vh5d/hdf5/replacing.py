"""Putting an object in the place of another: links and references that lead to it lead on."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from vh5d.hdf5 import native
from vh5d.hdf5.address import link, open_by_address
from vh5d.hdf5.attributes import list_attributes, open_attribute, tracks_attribute_order
from vh5d.hdf5.copying import rewrite_references
from vh5d.hdf5.references import Translate, Translator
from vh5d.hdf5.stubs import is_dataset
from vh5d.hdf5.walk import LinkKind, list_links


def replace_links(group: Any, made: Mapping[int, int]) -> None:
    """Have the hard links of a group lead to other objects; the order of links stays.

    Parameters
    ----------
    group
        h5py's GroupID.
    made
        Addresses of the objects that take the place of others, by those of the others.
    """
    tracked = bool(group.get_create_plist().get_link_creation_order())
    moving = False
    for each in list_links(group):
        if each.kind is LinkKind.HARD and each.address in made:
            replacement = open_by_address(group, made[each.address])
            group.unlink(each.name)
            link(replacement, group, each.name, utf8=each.utf8)
            moving = tracked
        elif moving:
            # What comes later must be made later.
            aside = f"vh5d-{uuid.uuid4()}".encode()
            group.move(each.name, aside)
            group.move(aside, each.name)


def replace_references(opened: Any, translate: Translate) -> None:
    """Have the references in an object's attributes and values lead to other objects.

    Parameters
    ----------
    opened
        The object's low-level identifier.
    translate
        From the address of an object to that of the one to refer to.
    """
    for name, utf8 in list_attributes(opened, tracked=tracks_attribute_order(opened)):
        attribute = open_attribute(opened, name, utf8=utf8)
        if attribute.layout.has_references and attribute.count:
            with attribute.values() as values:
                translator = Translator(opened, opened, translate)
                translator.rewrite(attribute.layout, values.address, values.count)
                native.write_attribute(attribute.id, values)
    if is_dataset(opened):
        rewrite_references(opened, opened, translate)
