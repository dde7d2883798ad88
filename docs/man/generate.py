"""Make vh5d.1 from the commands' own help: `python docs/man/generate.py > docs/man/vh5d.1`."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator

import click

from vh5d.cli import COMMANDS, main
from vh5d.cli.options import common

HEAD = """\
.\\" Made by docs/man/generate.py from the commands' help.
.TH VH5D 1 "" "vh5d" "User commands"
.SH NAME
vh5d \\- keep every state of HDF5 files
.SH SYNOPSIS
.B vh5d
.I COMMAND
[\\fIOPTION\\fR...] [\\fIARGUMENT\\fR...]
.SH DESCRIPTION
"""

TAIL = """\
.SH EXIT STATUS
.TP
0
done
.TP
1
failed, or problems were found; one line on standard error says what, and what to do
.TP
2
wrong use
.TP
130
interrupted
.SH ENVIRONMENT
.TP
.B VH5D_BROKER
the queue's address, for
.B vh5d watch
and
.BR "vh5d worker" ;
unlike an argument, nobody else sees a password in it
.TP
.B VH5D_ALLOW_PLUGINS
1: workers load filter plugins of HDF5
.TP
.B XDG_STATE_HOME
state directories are below its vh5d, or ~/.local/state/vh5d
.TP
.B NO_COLOR
no colours
.TP
.BR NOTIFY_SOCKET ", " WATCHDOG_USEC
set by
.BR systemd (1)
.SH FILES
.TP
.I DIR/.vh5d/PATH
the store of DIR/PATH, a file of HDF5, unless the configuration says otherwise
.TP
.I /etc/vh5d/vh5d.yaml
the configuration that the units of systemd name
.SH SEE ALSO
.BR h5dump (1),
.BR systemctl (1)
"""


def manual() -> str:
    """Return the page, in roff."""
    root = click.Context(main, info_name="vh5d")
    parts = [HEAD, *prose(main.help or ""), ".SH COMMANDS\n"]
    for name in COMMANDS:
        command = main.get_command(root, name)
        assert command is not None
        parts += section(name, command, click.Context(command, info_name=name, parent=root))
    parts += [".SH OPTIONS OF EVERY COMMAND\n", *options(shared_options())]
    return "".join([*parts, TAIL])


def section(name: str, command: click.Command, ctx: click.Context) -> Iterator[str]:
    """What the page says of one command."""
    usage = " ".join(command.collect_usage_pieces(ctx))
    yield f".SS {quoted(f'vh5d {name} {usage}')}\n"
    yield from prose(command.help or "")
    shared = {parameter.name for parameter in shared_options()}
    yield from options(each for each in command.params if each.name not in shared)


def options(parameters: Iterable[click.Parameter]) -> Iterator[str]:
    """What the page says of some options."""
    for parameter in parameters:
        record = parameter.get_help_record(click.Context(main))
        if isinstance(parameter, click.Option) and record is not None:
            flags, text = record
            yield f".TP\n.B {quoted(flags)}\n{escaped(' '.join(text.split()))}\n"


def shared_options() -> list[click.Parameter]:
    """The options that every command takes."""
    return click.command()(common(lambda: None)).params


def prose(text: str) -> Iterator[str]:
    """Paragraphs, with what stands in backquotes in bold."""
    for paragraph in re.split(r"\n\s*\n", textwrap.dedent(text).strip()):
        line = escaped(" ".join(paragraph.split()))
        yield ".PP\n" + re.sub(r"`([^`]*)`", r"\\fB\1\\fR", line) + "\n"


def escaped(text: str) -> str:
    """Text that roff takes for nothing else."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("…", "...")
    text = text.replace("'", "\\(aq").replace("→", "\\(->").replace("’", "\\(cq")
    return re.sub(r"^\.", "\\\\&.", text)


def quoted(text: str) -> str:
    """An argument of a macro."""
    return '"' + escaped(text).replace('"', "\\(dq") + '"'


if __name__ == "__main__":
    print(manual(), end="")
