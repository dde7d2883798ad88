"""Which versions are kept: the settings, without the arithmetic."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from vh5d.policy.block import Block
from vh5d.policy.fields import Flag, Kept, Period, reject


class Retention(Block):
    """Rules of which each keeps some versions; what none of them keeps may go.

    `keep_within` is in seconds. None and 0 mean that a rule keeps nothing.
    """

    keep_last: Kept = Field(None, description="The newest so many.")
    keep_within: Period = Field(
        None, description="All that are less than this older than the newest."
    )
    keep_hourly: Kept = Field(None, description="The newest of each of so many hours.")
    keep_daily: Kept = Field(None, description="The newest of each of so many days.")
    keep_weekly: Kept = Field(None, description="The newest of each of so many weeks.")
    keep_monthly: Kept = Field(None, description="The newest of each of so many months.")
    keep_yearly: Kept = Field(None, description="The newest of each of so many years.")
    keep_tagged: Flag = Field(True, description="All that have a tag.")

    @model_validator(mode="after")
    def _keeps_something(self) -> Self:
        rules = [name for name in type(self).model_fields if name != "keep_tagged"]
        if not any(getattr(self, name) for name in rules):
            reject("keeps nothing", "expected at least one of keep_last, keep_daily and so on")
        return self
