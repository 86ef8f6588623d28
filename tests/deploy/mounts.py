"""The files of the pod: those that the configuration names, and those that volumes bring."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from deploy.chart import Objects
from kubemint import config

Mounted = Callable[[Objects], config.Config]


def load_mounted(objects: Objects, folder: Path) -> config.Config:
    """Lay out the ConfigMap's files in a folder, with a CA in each file that they name, and load them."""
    for path in named_files(objects.file("kubemint.yaml")):
        file = folder / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(ca_certificate())
    for name, text in objects.one("ConfigMap")["data"].items():
        (folder / name).write_text(text.replace("/run/kubemint/", f"{folder}/run/kubemint/"))
    return config.load(folder / "kubemint.yaml")


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


def mounted_files(objects: Objects) -> set[str]:
    """Give the paths of all files that Secrets and ConfigMaps bring under /run/kubemint."""
    mounts = {mount["name"]: PurePosixPath(mount["mountPath"]) for mount in objects.container()["volumeMounts"]}
    return {
        str(mounts[volume["name"]] / item["path"])
        for volume in objects.pod()["volumes"]
        for source in sources(volume)
        for item in source.get("items", ())
    }


def sources(volume: dict[str, Any]) -> list[dict[str, Any]]:
    """Give the Secrets and ConfigMaps that a volume is made of."""
    projected = volume.get("projected", {}).get("sources", [volume])
    return [source[kind] for source in projected for kind in ("secret", "configMap") if kind in source]
