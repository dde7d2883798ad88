"""Who is told when something is wrong, and how."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from vh5d.policy.block import Block
from vh5d.policy.fields import Command, Duration, MailAddress, Webhook, reject, seconds

Kind = Literal["failed", "stale", "unclean", "quota", "verify"]
KINDS: tuple[Kind, ...] = ("failed", "stale", "unclean", "quota", "verify")


class Notification(Block):
    """One way to be told; exactly one of `webhook`, `mail` and `command` is set."""

    webhook: Webhook = Field(None, description="POST a JSON object to this URL.")
    mail: MailAddress = Field(None, description="Write to this address; see `mail`.")
    command: Command = Field(None, description="Run this program, with JSON on standard input.")
    on: tuple[Kind, ...] = Field(KINDS, description="About what; without it, about everything.")
    at_most: Duration = seconds(
        3600.0, "One message of a kind and policy in this time, at the most."
    )

    @field_validator("on", mode="before")
    @classmethod
    def _kinds(cls, value: Any) -> Any:
        found = [value] if isinstance(value, str) else value
        expected = f"expected some of {', '.join(KINDS)}"
        if not isinstance(found, list | tuple) or not found:
            reject(f"{value!r} is not a list of occasions", expected)
        for each in found:
            if each not in KINDS:
                reject(f"{each!r} is not an occasion", expected)
        return tuple(dict.fromkeys(found))

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if len([way for way in (self.webhook, self.mail, self.command) if way]) != 1:
            reject("is not one way to be told", "expected one of webhook, mail and command")
        return self
