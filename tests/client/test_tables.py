"""Lists as lines of columns, for programs and for people."""

import os
import pty
import subprocess
import sys
from pathlib import Path

from commands.cli import environment, kubemint

COMMAND = (sys.executable, "-m", "kubemint", "token", "list", "--tokens-file", "tokens.yaml")


def test_a_header_on_a_terminal_alone(tmp_path: Path) -> None:
    """A terminal gets a header and columns in line; a pipe the fields, separated by tabs, and nothing else."""
    for name in ("ci", "a-longer-name"):
        kubemint("token", "create", name, "--tokens-file", "tokens.yaml", cwd=tmp_path)
    piped = kubemint("token", "list", "--tokens-file", "tokens.yaml", cwd=tmp_path).output
    fields = [line.split("\t") for line in piped.splitlines()]
    assert [line[0] for line in fields] == ["ci", "a-longer-name"]

    header, *lines = _on_a_terminal(tmp_path).splitlines()
    assert header.split() == ["NAME", "EXPIRES", "STATE", "HASH"]
    assert [line.split() for line in lines] == fields
    assert len({line.index("valid") for line in lines} | {header.index("STATE")}) == 1


def test_no_token(tmp_path: Path) -> None:
    """An empty list of tokens is said on standard error."""
    kubemint("token", "create", "ci", "--tokens-file", "tokens.yaml", cwd=tmp_path)
    kubemint("token", "delete", "ci", "--tokens-file", "tokens.yaml", cwd=tmp_path)
    ran = kubemint("token", "list", "--tokens-file", "tokens.yaml", cwd=tmp_path)
    assert (ran.code, ran.output, ran.errors) == (0, "", "there is no token\n")


def _on_a_terminal(folder: Path) -> str:
    ours, theirs = pty.openpty()
    try:
        subprocess.run(COMMAND, cwd=folder, env=environment(), stdout=theirs, check=True, timeout=60)
        os.close(theirs)
        return os.read(ours, 10_000).decode()
    finally:
        os.close(ours)
