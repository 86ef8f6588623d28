"""Workers share their counts in a directory that prometheus_client must know of when it is imported."""

import subprocess
import sys


def _run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run((sys.executable, "-c", code), capture_output=True, text=True, timeout=30, check=False)


def test_what_a_start_needs_first_has_no_metrics() -> None:
    """The commands that serve, and the configuration, are imported without prometheus_client."""
    done = _run(
        "import sys, kubemint.commands.dev, kubemint.commands.serve, kubemint.config\n"
        "sys.exit('prometheus_client' in sys.modules)"
    )
    assert done.returncode == 0, done.stderr


def test_too_late() -> None:
    """A start that has imported prometheus_client before fails, and does not count in each worker alone."""
    done = _run(
        "import kubemint.metrics\nfrom kubemint.web.metrics_directory import share_metrics\nshare_metrics()"
    )
    assert done.returncode == 1
    assert "imported before its directory is known" in done.stderr
