"""Versions staged from Python: groups and datasets over a store."""
