"""How a service reaches others: hosts that call files otherwise, and a mail server."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from vh5d.policy.block import Block
from vh5d.policy.fields import MailSender, Port, Secret, Text


class PathMap(Block):
    r"""What is `from_` on this host (``D:\data``) is `to` in the queue, for all hosts."""

    from_: Text = Field(alias="from", description="The directory as this host calls it.")
    to: Text = Field(description="The same directory as the queue calls it.")


class Mail(Block):
    """The server that takes notifications by mail."""

    server: Text = Field(description="Its name or address.")
    port: Port = Field(None, description="587 with starttls, 465 with tls, 25 with none.")
    from_: MailSender = Field(alias="from", description="The sender's address.")
    user: str | None = Field(None, description="To log in with, if the server wants it.")
    password: Secret = Field(None, description="Of `user`; best as ${file:/run/secrets/mail}.")
    tls: Literal["starttls", "tls", "none"] = Field(
        "starttls", description="How the connection is encrypted."
    )
