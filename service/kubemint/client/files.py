"""The files of a client: a kubeconfig with everything in it, and writing that leaves whole files or none."""

import base64
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubemint.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class KubeconfigCluster:
    """The API server as a kubeconfig names it; `certificate_authority` is PEM."""

    name: str
    server: str
    certificate_authority: str


def kubeconfig(cluster: KubeconfigCluster, user: str, certificate_pem: str, key_pem: str) -> str:
    """Write a kubeconfig (v1) for one user of one cluster: JSON, which every reader of YAML reads."""
    entry = f"{user}@{cluster.name}"
    document: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": cluster.name,
                "cluster": {
                    "server": cluster.server,
                    "certificate-authority-data": _base64(cluster.certificate_authority),
                },
            }
        ],
        "users": [
            {
                "name": entry,
                "user": {
                    "client-certificate-data": _base64(certificate_pem),
                    "client-key-data": _base64(key_pem),
                },
            }
        ],
        "contexts": [{"name": entry, "context": {"cluster": cluster.name, "user": entry}}],
        "current-context": entry,
    }
    return json.dumps(document, indent=2) + "\n"


def read_token(file: Path) -> str:
    """Read a bearer token: one line of visible characters.

    Raises:
        ConfigurationError: it is not; the message holds nothing of the file.
    """
    words = read_text(file).split()
    if len(words) != 1 or not words[0].isprintable():
        raise ConfigurationError(str(file), ["must hold one token, in one line"])
    return words[0]


def check_writable(files: tuple[Path, ...], *, overwrite: bool) -> None:
    """Stop before anything is asked for, if the answer could not be written, or would replace what is there.

    Raises:
        ConfigurationError: naming the files.
    """
    if len({file.resolve() for file in files}) != len(files):
        raise ConfigurationError(str(files[0]), ["is named twice"])
    for file in files:
        if not file.parent.is_dir() or not os.access(file.parent, os.W_OK):
            raise ConfigurationError(str(file), ["its folder is not there, or cannot be written"])
        if file.exists() and not file.is_file():
            raise ConfigurationError(str(file), ["is there, and is no file"])
    if overwrite:
        return
    if there := [str(file) for file in files if file.exists()]:
        raise ConfigurationError(", ".join(there), ["is there already; --overwrite replaces it"])


def read_text(file: Path) -> str:
    """Read a file in ASCII, as PEM and tokens are.

    Raises:
        ConfigurationError: it cannot be read, or is something else.
    """
    try:
        return file.read_text("ascii")
    except OSError as fault:
        raise ConfigurationError(str(file), [f"cannot be read: {fault.strerror}"]) from None
    except UnicodeDecodeError:
        raise ConfigurationError(str(file), ["is not text in ASCII"]) from None


def write_file(file: Path, text: str, mode: int) -> None:
    """Write a file at once, with this mode from the first byte on."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode), "w") as stream:
            stream.write(text)
        temporary.replace(file)
    except OSError as fault:
        raise ConfigurationError(str(file), [f"cannot be written: {fault.strerror}"]) from None
    finally:
        temporary.unlink(missing_ok=True)


def _base64(text: str) -> str:
    return base64.b64encode(text.encode("ascii")).decode("ascii")
