"""CAs as kubeadm and administrators make them: with openssl, in files."""

import subprocess
from pathlib import Path
from typing import Final

# How `openssl` makes the key of each CA, in the format that kubeadm writes: PKCS#1, SEC 1.
CA_KEYS: Final = {
    "rsa": ("genrsa", "-traditional"),
    "rsa-serial-0": ("genrsa", "-traditional"),
    "p256": ("ecparam", "-name", "prime256v1", "-genkey", "-noout"),
    "ed25519": ("genpkey", "-algorithm", "ed25519"),
}
_CA_EXTENSIONS: Final = (
    "basicConstraints=critical,CA:TRUE",
    "keyUsage=critical,digitalSignature,keyEncipherment,keyCertSign",
    "subjectKeyIdentifier=hash",
    "subjectAltName=DNS:kubernetes",
)


class CertificateAuthority:
    """A CA in two files with what kubeadm writes into `ca.crt` (client-go, `NewSelfSignedCACert`).

    The kind `rsa-serial-0` is that of a cluster begun before Kubernetes 1.28 (kubernetes#117791).
    """

    def __init__(self, folder: Path, kind: str = "rsa") -> None:
        folder.mkdir(parents=True)
        self.certificate_file, self.key_file = self.files = folder / "ca.crt", folder / "ca.key"
        serial = ("-set_serial", "0") if kind == "rsa-serial-0" else ()
        openssl(*CA_KEYS[kind], "-out", str(self.key_file))
        self._certify(*self.files, "/CN=kubernetes", 3650, _CA_EXTENSIONS, *serial)

    def intermediate(self, folder: Path) -> tuple[Path, Path]:
        """Make a CA under this one; its certificate's file goes on with this one's."""
        files = self._issue(folder, "/CN=kubernetes-clients", *_CA_EXTENSIONS)
        files[0].write_bytes(files[0].read_bytes() + self.certificate_file.read_bytes())
        return files

    def server_pair(self, folder: Path, name: str) -> tuple[Path, Path]:
        """Make a server's certificate for this machine, and its key."""
        hosts = "subjectAltName=DNS:localhost,IP:127.0.0.1"
        return self._issue(folder, f"/CN={name}", "extendedKeyUsage=serverAuth", hosts)

    def client_pair(self, folder: Path, subject: str) -> tuple[Path, Path]:
        """Make a client's certificate and its key, as an administrator does by hand."""
        return self._issue(folder, subject, "extendedKeyUsage=clientAuth")

    def _issue(self, folder: Path, subject: str, *extensions: str) -> tuple[Path, Path]:
        folder.mkdir(parents=True)
        files = folder / "tls.crt", folder / "tls.key"
        openssl(*CA_KEYS["p256"], "-out", str(files[1]))
        issuer = ("-CA", str(self.certificate_file), "-CAkey", str(self.key_file))
        self._certify(*files, subject, 2, extensions, *issuer)
        return files

    def _certify(
        self, file: Path, key_file: Path, subject: str, days: int, extensions: tuple[str, ...], *options: str
    ) -> None:
        configuration = self.key_file.with_name("openssl.cnf")  # openssl's own would add extensions
        configuration.write_text("[req]\ndistinguished_name = name\n[name]\n")
        added = [argument for extension in extensions for argument in ("-addext", extension)]
        command = ("req", "-x509", "-new", "-config", str(configuration), "-key", str(key_file), "-out", str(file))
        openssl(*command, "-subj", subject, "-days", str(days), *added, *options)


def openssl(*arguments: str) -> None:
    """Run openssl; it must succeed."""
    ran = subprocess.run(("openssl", *arguments), capture_output=True, text=True, check=False, timeout=60)
    assert ran.returncode == 0, ran.stderr
