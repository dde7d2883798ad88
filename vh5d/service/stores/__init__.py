"""Upkeep of the stores.

`maintainer` begins rounds of `maintenance`, noted in `upkeep`; `thinning` is by retention; `damage`
is told of.
"""
