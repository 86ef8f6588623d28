"""README.md: what is typed after the quick start works where the reader stands, as it is written."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from docs.pages import Page
from docs.serving import Terminal
from kubemint.client.receipts import read_receipt
from running_service import RunningService, free_port
from service.workspaces import change_yaml

README: Final = Page.read("README", Path(__file__).parents[2])


class Reader:
    """Somebody who types what the page says, in the folder that holds `.kubemint`."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self._port = port
        self._terminal = Terminal(folder=folder)

    def types(self, script: str) -> str:
        """Run a block that must succeed, with this service's port."""
        return self._terminal.check(script.replace("127.0.0.1:8443", f"127.0.0.1:{self._port}"))


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """Serve as `make run` does, and have come as far as the end of the walk with openssl."""
    folder = tmp_path_factory.mktemp("checkout")
    with RunningService(folder / ".kubemint") as service:
        reader = Reader(folder, service.port)
        reader.types(README.block("steps", "jane").replace(".venv/bin/kubemint", "kubemint"))
        reader.types(README.block("steps", "walk"))
        yield reader


def test_a_refusal_is_told_and_on_record(reader: Reader) -> None:
    """Two documents, each on lines of its own: the refusal, and the record of it."""
    refused, listed = map(json.loads, reader.types(README.block("steps", "refusal")).splitlines())
    assert refused["code"] == "refused"
    assert [item["user"] for item in listed["items"]] == ["eve"]


def test_the_policy_is_looked_at(reader: Reader) -> None:
    """A copy of the policy is checked and replayed, and the walk's CSR is explained."""
    said = reader.types(README.block("steps", "policy"))
    assert "myuser" in said


def test_the_log_is_looked_at(reader: Reader) -> None:
    """The whole log and one receipt are in order, all of it is exported, and a backup is made."""
    said = reader.types(README.block("steps", "log"))
    assert said.count("verified: ") == 2
    assert '"user":"jane"' in said
    assert (reader.folder / "backup").is_dir()


def test_a_certificate_is_taken_back(reader: Reader) -> None:
    """What jane has is revoked, and the files for an API server are written."""
    reader.types(README.block("steps", "revoke"))
    assert any((reader.folder / "out").iterdir())


def test_a_real_cluster(tmp_path: Path) -> None:
    """With the cluster's CA and the name of the log, the receipt of the first certificate is checked."""
    reader = Reader(tmp_path, port := free_port())

    def placed(name: str) -> str:
        block = README.block("steps", name).replace("/etc/kubernetes/pki", str(tmp_path / "pki" / ".kubemint"))
        lines = block.replace("/etc/kubemint", str(tmp_path / "etc")).splitlines()
        return "\n".join(line for line in lines if not line.startswith(("kubemint serve", "kubectl")))

    (tmp_path / "pki").mkdir()
    reader.types("cd pki && kubemint init")
    said = reader.types(placed("cluster"))
    assert "The log is named mint.example.com/log" in said
    shutil.rmtree(tmp_path / "pki")
    config = tmp_path / "etc" / "kubemint.yaml"
    change_yaml(config, lambda settings: settings["server"].update(listen=f"127.0.0.1:{port}"))
    with RunningService(config.parent, config=config) as service:
        terminal = Terminal(folder=tmp_path)
        ran = terminal.run(placed("cluster-request").replace(":8443", f":{service.port}"))
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "mint.example.com/log" in read_receipt(tmp_path / "jane.kubeconfig.tlog-proof").checkpoint
