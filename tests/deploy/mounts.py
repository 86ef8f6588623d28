"""The files of the pod: those that the configuration names, and those that volumes bring."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from deploy.chart import Objects
from kubemint import config

Mounted = Callable[[Objects], config.Config]


def load_mounted(objects: Objects, folder: Path) -> config.Config:
    """Lay out the ConfigMap's files in a folder, with a CA in each file that they name, and load them."""
    for path in named_files(objects.file("kubemint.yaml")):
        write(folder, path, ca_certificate())
    return config.load(write_configuration(objects, folder, "/run/kubemint/"))


def lay_out(objects: Objects, container: Any, folder: Path) -> Path:
    """Lay out what one container finds, its writable folders too, with a log key where it looks for one.

    Gives the configuration's path; what other containers alone have mounted is not there.
    """
    for path in mounted_files(objects, container):
        write(folder, path, log_key() if path.endswith("/log.key") else ca_certificate())
    writable = [mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")]
    for path in writable:
        (folder / path.lstrip("/")).mkdir(parents=True, exist_ok=True)
    return write_configuration(objects, folder, "/run/kubemint/", "/var/lib/")


def write(folder: Path, path: str, content: bytes) -> None:
    """Write a file at an absolute path below a folder."""
    file = folder / path.lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)


def write_configuration(objects: Objects, folder: Path, *moved: str) -> Path:
    """Write the ConfigMap's files into a folder, with these paths in them below it too."""
    for name, text in objects.one("ConfigMap")["data"].items():
        (folder / name).write_text(re.sub("|".join(moved), lambda path: f"{folder}{path[0]}", text))
    return folder / "kubemint.yaml"


def log_key() -> bytes:
    """Make a key that may sign checkpoints, in PEM."""
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def ca_certificate() -> bytes:
    """Make a CA certificate, in PEM, that is valid now."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a CA")])
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder(issuer_name=name, subject_name=name, public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
        .public_bytes(Encoding.PEM)
    )


def named_files(part: Any) -> set[str]:
    """Give all absolute paths under /run/kubemint in a configuration."""
    if isinstance(part, dict):
        return set().union(*map(named_files, part.values()))
    if isinstance(part, list):
        return set().union(*map(named_files, part))
    path = str(part).removeprefix("file:").rpartition("sslrootcert=")[2]
    return {path} if path.startswith("/run/kubemint/") else set()


def mounted_files(objects: Objects, container: Any = None) -> set[str]:
    """Give the paths of files that Secrets and ConfigMaps bring under /run/kubemint, to the service or others."""
    seen = (container or objects.container())["volumeMounts"]
    mounts = {mount["name"]: PurePosixPath(mount["mountPath"]) for mount in seen}
    return {
        str(mounts[volume["name"]] / item["path"])
        for volume in objects.pod()["volumes"]
        if volume["name"] in mounts
        for source in sources(volume)
        for item in source.get("items", ())
    }


def sources(volume: dict[str, Any]) -> list[dict[str, Any]]:
    """Give the Secrets and ConfigMaps that a volume is made of."""
    projected = volume.get("projected", {}).get("sources", [volume])
    return [source[kind] for source in projected for kind in ("secret", "configMap") if kind in source]
