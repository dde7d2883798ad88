"""What all blocks of settings have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Block(BaseModel):
    """Settings that go together: fixed once read, and no unknown key among them."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)
