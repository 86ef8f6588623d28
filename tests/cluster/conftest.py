"""One real API server for all tests of this folder, and the kubectl that asks it: found, or named as missing."""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.cluster import PROGRAMS, Cluster, Kubectl
from peers import missing


@pytest.fixture(scope="session")
def kubectl(tmp_path_factory: pytest.TempPathFactory) -> Kubectl:
    """Give kubectl, of nobody yet: the pinned one beside this interpreter, else the one on the PATH."""
    pinned = Path(sys.executable).with_name("kubectl")
    program = pinned if pinned.exists() else shutil.which("kubectl")
    if program is None:
        missing("kubectl: not on the PATH, and requirements/interop.txt is not installed")
    return Kubectl(program=Path(program), home=tmp_path_factory.mktemp("kubectl"))


@pytest.fixture(scope="session")
def cluster(kubectl: Kubectl, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Give a running API server. It takes kubectl only for the order: in CI its lack fails and comes first."""
    with Cluster(tmp_path_factory.mktemp("cluster"), find_programs()) as running:
        yield running


def find_programs() -> dict[str, Path]:
    """Find etcd and kube-apiserver, on the PATH or in the cache of own builds; skip where there are none.

    In CI too: no package index has a kube-apiserver.
    """
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    path = os.pathsep.join((*os.get_exec_path(), str(Path(cache, "kube-lab", "bin"))))
    found = {name: shutil.which(name, path=path) for name in PROGRAMS}
    if absent := [name for name, program in found.items() if program is None]:
        pytest.skip(f"missing on the PATH and in the cache's kube-lab/bin: {', '.join(absent)}")
    return {name: Path(program) for name, program in found.items() if program}


@pytest.fixture(scope="session")
def admin(kubectl: Kubectl, cluster: Cluster) -> Kubectl:
    """Give kubectl as the cluster's administrator runs it."""
    return kubectl.with_kubeconfig(cluster.admin_kubeconfig)


@pytest.fixture
def namespace(admin: Kubectl) -> str:
    """Give a new namespace, in which nobody but the administrator may do anything."""
    manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"generateName": "test-"}}
    name: str = admin.create(manifest)["metadata"]["name"]
    return name
