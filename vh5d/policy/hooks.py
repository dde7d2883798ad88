"""Programs of the user that run after a capture."""

from __future__ import annotations

from pydantic import Field

from vh5d.policy.block import Block
from vh5d.policy.fields import Command


class Hooks(Block):
    """Commands, as program and arguments; None: there is none. No shell is involved."""

    after_capture: Command = Field(None, description="Run when a version was made.")
    on_failure: Command = Field(None, description="Run when a capture failed.")
