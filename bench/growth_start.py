"""The start of the whole service on a ledger: from the command to the first answer of /readyz."""

import tempfile
import time
from pathlib import Path

import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from sqlalchemy.engine import URL

from bench.growth_stores import ORIGIN
from bench.kubemint_service import COMMAND, initialise
from bench.server import HOST, answers, await_ready, free_port, running


def start_service(url: URL, log_key: bytes) -> float:
    """Give the seconds from the command until the service is ready; `log_key` is the one of the ledger's log."""
    with tempfile.TemporaryDirectory() as name:
        directory, address = Path(name), f"{HOST}:{free_port()}"
        initialise(directory)
        key = Ed25519PrivateKey.from_private_bytes(log_key)
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (directory / "log.key").write_bytes(pem)
        configuration = yaml.safe_load((directory / "kubemint.yaml").read_text())
        configuration["server"] = {"listen": address, "plainHttp": True, "workers": 1}
        configuration["ledger"] = {"url": url.render_as_string()}
        configuration["log"] |= {"origin": ORIGIN}
        (directory / "bench.yaml").write_text(yaml.safe_dump(configuration))
        command = (*COMMAND, "serve", "--config", str(directory / "bench.yaml"))
        output = directory / "decisions.log"
        began = time.perf_counter()
        with running(command, directory=directory, output=output) as process:
            await_ready(process, lambda: answers("GET", f"http://{address}/readyz"), output=output)
            return time.perf_counter() - began
