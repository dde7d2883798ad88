"""The command line, a module a command."""

from __future__ import annotations

import click

from vh5d import __version__
from vh5d.cli.group import LazyGroup

#: Each command has a module of its name, which has it as `command`, and a line in the help. What
#: no module can be called ends in an underscore.
COMMANDS = {
    "up": "Watch directories and keep every version.",
    "init": "Write a configuration to begin with.",
    "check-config": "Say what a configuration will do, or what is wrong.",
    "watch": "Only watch: put captures into the queue.",
    "worker": "Only work: capture what is in the queue.",
    "status": "Show what is watched, and how it goes.",
    "events": "Show what the service did, and does.",
    "retry": "Try again what failed or was given up.",
    "metrics": "Serve figures to Prometheus.",
    "doctor": "Find what on this machine will bite.",
    "snapshot": "Capture files now.",
    "log": "List the versions of a file, newest first.",
    "show": "Show what is in a version.",
    "diff": "Show what differs between two versions.",
    "restore": "Get a version back, bit for bit.",
    "tag": "Give versions names that are never dropped.",
    "verify": "Check stores, down to the last chunk.",
    "repair": "Make right again what can be of a damaged store.",
    "prune": "Drop versions, and give back their space.",
    "maintain": "Thin the stores of policies now, as each night.",
    "compact": "Rewrite a store without dead space.",
    "import": "Make a store of a file of versioned-hdf5.",
    "export": "Make a file for versioned-hdf5 of a store.",
    "install-service": "Have systemd run the service.",
    "completion": "Print a shell's completion script.",
}


@click.group("vh5d", cls=LazyGroup, package=__name__, commands=COMMANDS)
@click.version_option(__version__, prog_name="vh5d", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, expose_value=False, help="Show where an error comes from.")
def main() -> None:
    """Keep every state of HDF5 files.

    `vh5d up DIR` watches a directory. FILE, in the other commands, is a file or its store; a
    VERSION is a name, the beginning of one, a tag, -1 (the newest), -2… or @TIME.
    """
