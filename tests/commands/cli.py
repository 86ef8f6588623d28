"""The command line as people run it, in a folder of its own."""

import io
import os
import subprocess
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from kubemint.commands.main import main


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What a command left: its exit code and what it printed."""

    code: int
    output: str
    errors: str


def environment(**added: str) -> dict[str, str]:
    """Give this process' environment without what would configure kubemint."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("KUBEMINT_")}
    return kept | {"COLUMNS": "120"} | added


def kubemint(*arguments: str | Path, cwd: Path) -> Ran:
    """Run `kubemint` with these arguments in this process: for the many commands that end soon."""
    output, errors = io.StringIO(), io.StringIO()
    with chdir(cwd), redirect_stdout(output), redirect_stderr(errors):
        try:
            main(list(map(str, arguments)))
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0
    return Ran(code=code, output=output.getvalue(), errors=errors.getvalue())


def kubemint_process(*arguments: str | Path, cwd: Path, **variables: str) -> Ran:
    """Run `kubemint` in a process of its own, with these environment variables."""
    done = subprocess.run(
        (sys.executable, "-m", "kubemint", *map(str, arguments)),
        cwd=cwd,
        env=environment(**variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Ran(code=done.returncode, output=done.stdout, errors=done.stderr)


def failed_cleanly(ran: Ran) -> bool:
    """Tell whether a command ended as ours do: code 1 and a sentence, without a traceback."""
    return ran.code == 1 and ran.errors.startswith("kubemint: ") and "Traceback" not in ran.errors
