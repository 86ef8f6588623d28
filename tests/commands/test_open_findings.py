"""What the commands do not keep yet. Each test here fails; mend the code, take the mark off, move the test."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from commands.cli import environment


@pytest.mark.xfail(reason="SIGTERM ends the process where it stands", strict=True)
def test_terminated_it_leaves_nothing(tmp_path: Path) -> None:
    """SIGTERM while the CA's key is about to be written leaves no draft of the folder."""
    passphrase_file = tmp_path / "passphrase"
    os.mkfifo(passphrase_file)
    process = subprocess.Popen(
        (sys.executable, "-m", "kubemint", "init", "--passphrase-file", "passphrase"),
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 30
        while not list(tmp_path.glob("*/ca.crt")):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(0.1)
        process.terminate()
        process.wait(30)
    finally:
        process.kill()
        process.wait()
    assert list(tmp_path.iterdir()) == [passphrase_file]
