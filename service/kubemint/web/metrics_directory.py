"""The directory in which worker processes share their counts. Imports nothing that has metrics."""

import os
import sys
import tempfile
from pathlib import Path
from typing import Final

METRICS_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"


def share_metrics() -> Path:
    """Make the directory and announce it to prometheus_client, which looks for it when it is imported."""
    if "prometheus_client" in sys.modules:
        raise RuntimeError("prometheus_client was imported before its directory is known: workers would not share")
    directory = Path(tempfile.mkdtemp(prefix="kubemint-metrics-"))
    os.environ[METRICS_VARIABLE] = str(directory)
    return directory
