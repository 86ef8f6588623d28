"""The files that a certificate is written to: key and certificate or a kubeconfig, and the receipt beside them."""

from dataclasses import dataclass
from pathlib import Path

from kubemint.client.certificates import HeldCertificate
from kubemint.client.files import KubeconfigCluster, kubeconfig, write_file
from kubemint.client.receipts import RECEIPT_SUFFIX


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """The files to write; a kubeconfig stands in for key and certificate.

    Where `is_key_there` the key's file was there before, and is left alone.
    """

    key_file: Path
    certificate_file: Path
    kubeconfig_file: Path | None
    is_key_there: bool = False

    @property
    def files(self) -> tuple[Path, ...]:
        """Those that may be written."""
        return (*self.credentials, self.receipt_file)

    @property
    def credentials(self) -> tuple[Path, ...]:
        """Those that are written for each certificate."""
        if self.kubeconfig_file is not None:
            return (self.kubeconfig_file,)
        return (self.certificate_file,) if self.is_key_there else (self.key_file, self.certificate_file)

    @property
    def receipt_file(self) -> Path:
        """Say where the receipt is kept: beside the certificate, under its name."""
        if self.kubeconfig_file is not None:
            return self.kubeconfig_file.with_name(self.kubeconfig_file.name + RECEIPT_SUFFIX)
        return self.certificate_file.with_name(self.certificate_file.stem + RECEIPT_SUFFIX)

    def kept_key_file(self, request: str) -> Path:
        """Say where the key waits for its certificate; it replaces nothing, not even where that is allowed."""
        if self.kubeconfig_file is None and not self.key_file.exists():
            return self.key_file
        beside = self.kubeconfig_file or self.key_file
        return beside.with_name(f"{beside.name}.{request}.key")

    def forget(self, kept: Path) -> None:
        """Remove the key that waited, where it has been written to its place."""
        if kept not in self.credentials:
            kept.unlink(missing_ok=True)

    def write(
        self, cluster: KubeconfigCluster | None, key_pem: str, certificate: HeldCertificate
    ) -> tuple[Path, ...]:
        """Write a certificate whose receipt was checked; gives the files that were written.

        Raises:
            ConfigurationError: one of them cannot be written.
        """
        if self.kubeconfig_file is not None and cluster is not None:
            text = kubeconfig(cluster, certificate.user, certificate.pem, key_pem)
            write_file(self.kubeconfig_file, text, 0o600)
        else:
            if not self.is_key_there:
                write_file(self.key_file, key_pem, 0o600)
            write_file(self.certificate_file, certificate.pem, 0o644)
        if certificate.receipt is None:
            self.receipt_file.unlink(missing_ok=True)  # an older one would be of another certificate
            return self.credentials
        write_file(self.receipt_file, certificate.receipt, 0o644)
        return self.files
