"""Every fenced example in README.md and docs/ is run, file by file, top to bottom.

In each file, in one fresh directory (with `examples/` and `config/` beside it):

    ```python           executed; `>>>` examples are checked as doctests; one namespace a file
    ```console          each `$ ` command runs in bash (`> ` goes on with it) and must print what
                        follows it, `...` standing for anything; exit status 0, or, with
                        ```console fails, anything else
    ```yaml             read as a configuration
    ```LANGUAGE no-run  shown only; so are blocks in other languages

    <!-- docs: setup COMMAND -->       runs COMMAND first; it must succeed
    <!-- docs: background COMMAND -->  starts COMMAND; it is terminated at the end of the file
"""

from __future__ import annotations

import doctest
import os
import re
import signal
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from vh5d.policy import load_config

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

# The fence closes with what it opened with; a comment stands on its own line.
STEP = re.compile(
    r"^(?P<fence>```+)(?P<info>[^\n`]*)\n(?P<body>.*?)^(?P=fence)\s*$"
    r"|^<!-- docs: (?P<verb>setup|background) (?P<command>.*?) -->$",
    re.MULTILINE | re.DOTALL,
)
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@dataclass(frozen=True)
class Step:
    line: int
    kind: str
    body: str


def steps(text: str) -> list[Step]:
    return [
        Step(
            text.count("\n", 0, found.start()) + 1,
            found["verb"] or found["info"].strip(),
            found["command"] or found["body"] or "",
        )
        for found in STEP.finditer(text)
    ]


class Runner:
    def __init__(self, page: Path, directory: Path, stack: ExitStack) -> None:
        self.page = page
        self.directory = directory
        self.stack = stack
        self.namespace: dict[str, object] = {"__name__": "__main__"}
        self.environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(directory / ".home"),
            "COLUMNS": "100",
            "LC_ALL": "C.UTF-8",
            "NO_COLOR": "1",
            "TZ": "UTC",
        }

    def run(self, step: Step) -> None:
        match step.kind:
            case "setup":
                status, output = self.bash(step.body)
                assert status == 0, f"{self.page}:{step.line}: {step.body}\n{output}"
            case "background":
                self.background(step.body)
            case "python":
                self.python(step)
            case "console" | "console fails":
                self.console(step)
            case "yaml":
                config = self.directory / ".example.yaml"
                config.write_text(step.body)
                load_config(config)

    def bash(self, command: str) -> tuple[int, str]:
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stdout

    def background(self, command: str) -> None:
        log = self.stack.enter_context((self.directory / ".background.log").open("ab"))
        process = subprocess.Popen(
            ["bash", "-c", f"exec {command}"],
            cwd=self.directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        self.stack.callback(process.wait, 30)
        self.stack.callback(os.killpg, process.pid, signal.SIGTERM)

    def python(self, step: Step) -> None:
        where = f"{self.page}:{step.line}"
        if ">>>" not in step.body:
            # Empty lines first, so that a traceback shows the line in the page.
            exec(compile("\n" * step.line + step.body, self.page, "exec"), self.namespace)
            return
        test = doctest.DocTestParser().get_doctest(
            step.body, self.namespace, where, str(self.page), step.line
        )
        report: list[str] = []
        result = doctest.DocTestRunner(optionflags=FLAGS).run(
            test, out=report.append, clear_globs=False
        )
        assert result.failed == 0, "".join(report)
        self.namespace.update(test.globs)

    def console(self, step: Step) -> None:
        for block in re.split(r"^(?=\$ )", step.body, flags=re.MULTILINE):
            if not block.strip():
                continue
            first, *rest = block.splitlines()
            assert first.startswith("$ "), f"{self.page}:{step.line}: no command: {first}"
            command = [first[2:]]
            while rest and rest[0].startswith("> "):
                command.append(rest.pop(0)[2:])
            status, output = self.bash("\n".join(command))
            shown = f"{self.page}:{step.line}: $ {' '.join(command)}\n{output}"
            assert (status != 0) == (step.kind == "console fails"), f"{shown}(exit {status})"
            want = "".join(line.rstrip() + "\n" for line in rest)
            got = "".join(line.rstrip() + "\n" for line in output.splitlines())
            assert doctest.OutputChecker().check_output(want, got, FLAGS), (
                f"{shown}--- but the page says\n{want}"
            )


def run_page(page: Path, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("examples", "config"):
        (directory / name).symlink_to(ROOT / name)
    (directory / ".home").mkdir()
    monkeypatch.chdir(directory)
    with ExitStack() as stack:
        runner = Runner(page, directory, stack)
        for step in steps(page.read_text(encoding="utf-8")):
            runner.run(step)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_examples_do_what_the_page_says(page, tmp_path, monkeypatch):
    run_page(page, tmp_path, monkeypatch)


@pytest.mark.parametrize(
    "example",
    [
        "```python\nassert 1 == 2\n```\n",
        "```python\n>>> 1 + 1\n3\n```\n",
        "```console\n$ echo hello\ngood bye\n```\n",
        "```console\n$ echo hello; exit 3\nhello\n```\n",
        "```console fails\n$ echo hello\nhello\n```\n",
        "```yaml\npolicies: []\n```\n",
        "<!-- docs: setup exit 1 -->\n",
    ],
)
def test_a_wrong_example_fails(example, tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text(example)
    directory = tmp_path / "run"
    directory.mkdir()
    with pytest.raises(Exception):  # noqa: B017, PT011 - each kind fails in its own way
        run_page(page, directory, monkeypatch)


def test_a_right_page_passes(tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- docs: background sleep 60 -->\n"
        "<!-- docs: setup echo one > file -->\n"
        "```console\n$ cat file\none\n$ seq 9\n1\n...\n9\n$ echo a \\\n> b\na b\n```\n"
        "```python\nx = 2\n```\n\n```python\n>>> x\n2\n>>> y = x + 1\n```\n"
        "```python\nassert y == 3\n```\n"
        "```console fails\n$ ls nothing\n...nothing...\n```\n"
        "```yaml\npolicies: [{watch: data}]\n```\n"
        "```sh\nexit 1\n```\n```console no-run\n$ exit 1\n```\n"
    )
    directory = tmp_path / "run"
    directory.mkdir()
    run_page(page, directory, monkeypatch)
