"""How much a policy may take of a machine."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from vh5d.policy.block import Block
from vh5d.policy.fields import Captures, Rate, Size


class Limits(Block):
    """Bounds; None: there is none. Sizes are in bytes, `read_rate` in bytes a second."""

    read_rate: Rate = Field(None, description="Read sources no faster than this, each capture.")
    concurrency: Captures = Field(None, description="Captures of this policy at a time.")
    file_size: Size = Field(None, description="Larger files are not captured, and that is said.")
    store_quota: Size = Field(None, description="What all stores of this policy may take.")
    on_quota: Literal["prune", "refuse"] = Field(
        "prune", description="At the quota: thin by `retention` first, or refuse at once."
    )
