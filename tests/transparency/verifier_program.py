"""The verifier in Go (verifier/main.go): built where there is a Go compiler and its package of checks."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from peers import missing

SOURCE = Path(__file__).parent / "verifier" / "main.go"
GO_PATH = Path("/usr/share/gocode")  # where Debian's packages of Go sources are (golang-golang-x-mod-dev)


class Verifier:
    """The built program. Standard error goes to the test's own."""

    def __init__(self, directory: Path) -> None:
        """Build it in a directory; the test is skipped where that cannot be."""
        if shutil.which("go") is None or not (GO_PATH / "src/golang.org/x/mod/sumdb/tlog").is_dir():
            missing("golang-go and golang-golang-x-mod-dev")
        self._program = directory / "verifier"
        environment = os.environ | {
            "GO111MODULE": "off",
            "GOPATH": str(GO_PATH),
            "GOCACHE": str(directory / "cache"),
            "GOFLAGS": "",
        }
        command = ["go", "build", "-o", self._program, SOURCE]
        subprocess.run(command, env=environment, check=True, timeout=300)

    def accepts(self, *arguments: str | Path, text: str = "") -> bool:
        """Tell whether the program ends well."""
        return self._run(arguments, text).returncode == 0

    def output(self, *arguments: str | Path, text: str = "") -> str:
        """Give what the program says, which must end well."""
        run = self._run(arguments, text)
        assert run.returncode == 0, run.stderr
        return run.stdout

    def verdicts(self, what: str, cases: Sequence[str]) -> list[str]:
        """Give the verdict on each case: `holds` or `refused`."""
        return self.output(what, text="".join(f"{case}\n" for case in cases)).splitlines()

    def _run(self, arguments: Sequence[str | Path], text: str) -> subprocess.CompletedProcess[str]:
        command = [self._program, *arguments]
        return subprocess.run(command, input=text, capture_output=True, encoding="utf-8", check=False, timeout=60)
