"""Watching, in one process for each set of directories.

`watcher` decides, of `candidates`, by `settle` and `growing`, at each `alarm`. It hears of changes
by `inbox`, from the `observer` of `roots` (`sight`, `canary`, `presence`) and from `looks` at the
disk (`rescan`); `contact` is with the broker.
"""
