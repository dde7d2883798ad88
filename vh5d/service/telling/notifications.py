"""Telling somebody: a POST, a mail, a program."""

from __future__ import annotations

import json
import smtplib
import ssl
import urllib.error
import urllib.request
from datetime import datetime
from email.message import EmailMessage
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit

import vh5d
from vh5d.errors import ServiceError
from vh5d.policy.notifications import Notification
from vh5d.policy.reach import Mail
from vh5d.service.running.logs import printable
from vh5d.service.telling import program
from vh5d.service.telling.outbox import Letter

#: Seconds that a server may take to answer.
TIMEOUT = 20.0
_PORTS = {"starttls": 587, "tls": 465, "none": 25}
_SENTENCES = {
    "failed": "cannot be captured",
    "unclean": "was left open by a program that crashed; its bytes are kept",
    "stale": "nothing has changed for longer than it should",
    "quota": "the stores are over their quota",
    "verify": "a store is damaged",
}


def send(letter: Letter, way: Notification, mail: Mail | None) -> None:
    """Tell of it.

    Raises
    ------
    ServiceError
        It was not heard, and why; without the address, which may be a secret.
    """
    content = told(letter)
    if way.webhook is not None:
        _post(way.webhook.get_secret_value(), content)
    elif way.mail is not None and mail is not None:
        _mail(mail, way.mail, letter, content)
    elif way.command is not None:
        program.run(way.command, content)


def told(letter: Letter) -> dict[str, Any]:
    """What is said, whichever the way: `text` for people, the rest for programs."""
    event = letter.event
    return {
        "text": text(letter),
        "kind": letter.kind,
        "policy": letter.policy,
        "path": event.get("path"),
        "error": event.get("error"),
        "at": event.get("at"),
        "host": event.get("host"),
        "capture": event.get("capture"),
        "held": letter.held,
        "event": event,
    }


def text(letter: Letter) -> str:
    """A sentence."""
    event = letter.event
    what = printable(str(event.get("path") or f"policy {letter.policy}"))
    said = f"vh5d: {what}: {_SENTENCES.get(letter.kind, letter.kind)}"
    if event.get("error"):
        said += f": {printable(str(event['error']))}"
    if letter.held:
        said += f" (and {letter.held} more of policy {letter.policy} since the last message)"
    return " ".join(said.split())


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A POST that is redirected would arrive as a GET, perhaps at somebody else's."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _post(url: str, content: dict[str, Any]) -> None:
    request = urllib.request.Request(  # noqa: S310 - the configuration allows http and https only
        url,
        data=json.dumps(content).encode(),
        headers={"Content-Type": "application/json", "User-Agent": f"vh5d/{vh5d.__version__}"},
    )
    where = f"the webhook at {urlsplit(url).hostname}"
    try:
        with urllib.request.build_opener(_NoRedirect()).open(request, timeout=TIMEOUT) as answer:
            answer.read(1)
    except urllib.error.HTTPError as error:
        raise ServiceError(f"{where}: answers {error.code}") from None
    except urllib.error.URLError as error:
        raise ServiceError(f"{where}: {error.reason}") from None
    except (OSError, HTTPException, ValueError) as error:
        raise ServiceError(f"{where}: {type(error).__name__}") from None


def _mail(server: Mail, to: str, letter: Letter, content: dict[str, Any]) -> None:
    message = EmailMessage()
    message["Subject"] = content["text"][:200]
    message["From"], message["To"] = server.from_, to
    # Of the letter: one that is sent twice is one to those who read it.
    message["Message-ID"] = f"<{letter.id}@vh5d>".replace(":", ".")
    message["Date"] = datetime.now().astimezone()
    message["Auto-Submitted"] = "auto-generated"
    lines = [f"{name}: {printable(str(value))}" for name, value in content.items() if value]
    message.set_content("\n".join([content["text"], "", *lines[1:-1]]))
    try:
        with _connected(server) as connection:
            if server.user is not None:
                password = server.password
                connection.login(server.user, password.get_secret_value() if password else "")
            connection.send_message(message)
    except (OSError, smtplib.SMTPException) as error:
        # An answer to a login may repeat what was said.
        why = type(error).__name__ if isinstance(error, smtplib.SMTPException) else error
        raise ServiceError(f"the mail server {server.server}: {why}") from None


def mail_port(server: Mail) -> int:
    """Where a mail server listens."""
    return server.port or _PORTS[server.tls]


def _connected(server: Mail) -> smtplib.SMTP:
    port = mail_port(server)
    if server.tls == "tls":
        context = ssl.create_default_context()
        return smtplib.SMTP_SSL(server.server, port, timeout=TIMEOUT, context=context)
    connection = smtplib.SMTP(server.server, port, timeout=TIMEOUT)
    if server.tls == "starttls":
        connection.starttls(context=ssl.create_default_context())
    return connection
