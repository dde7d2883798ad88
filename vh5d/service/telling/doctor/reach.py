"""Whom the service tells: programs that are to be run, the mail server."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator

from vh5d.policy import Config, Policy
from vh5d.policy.reach import Mail
from vh5d.service.telling.doctor.finding import Finding, quoted
from vh5d.service.telling.notifications import mail_port

#: Seconds that a mail server may take to answer.
PATIENCE = 5.0


def examine(config: Config) -> Iterator[Finding]:
    """Whether they can be told."""
    for policy in config.policies:
        for program in dict.fromkeys(_programs(policy)):
            if shutil.which(program) is None:
                message = f"{program} is not there, or this user may not run it"
                mend = f"ls -l {quoted(program)}"
                yield Finding(f"hooks of {policy.name}", "bites", message, mend)
    if config.mail is not None and any(each.mail for p in config.policies for each in p.notify):
        yield _answers(config.mail)


def _programs(policy: Policy) -> Iterator[str]:
    hooks = policy.hooks
    commands = [hooks.after_capture, hooks.on_failure, *(each.command for each in policy.notify)]
    return (command[0] for command in commands if command)


def _answers(mail: Mail) -> Finding:
    where = (mail.server, mail_port(mail))
    try:
        socket.create_connection(where, PATIENCE).close()
    except OSError as error:
        message = f"{where[0]}:{where[1]}: {error.strerror or error}"
        mend = f"nc -vz {quoted(where[0])} {where[1]}"
        return Finding("mail", "bites", message, mend)
    return Finding("mail", "ok", f"{where[0]}:{where[1]} answers")
