"""`kubemint request`: make a key here, ask for a certificate, write both down."""

import json
import re
import shlex
import sys
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from kubemint.client.certificates import held_certificate, report
from kubemint.client.cluster import cluster_of, cluster_options
from kubemint.client.connection import ServiceConnection, find_service
from kubemint.client.files import check_writable, write_file
from kubemint.client.options import DurationType, service_options
from kubemint.client.outputs import Outputs
from kubemint.client.receipts import log_key_option
from kubemint.client.waiting import WAITING, pending_request, wait_for_certificate
from kubemint.durations import format_duration
from kubemint.x509.generate import GENERATED_KEY_TYPES, GeneratedKey, generate_key

_file = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.option("--user", required=True, help="User name (CN).")
@click.option("--group", "groups", multiple=True, help="Group (O); may be given more than once.")
@click.option(
    "--expires", type=DurationType(), help="How long it should be good for: 15m, 8h  [default: the profile's]."
)
@click.option("--profile", help="Profile of the policy, where several are for you.")
@click.option(
    "--key-type",
    type=click.Choice(GENERATED_KEY_TYPES),
    default="ecdsa-p256",
    show_default=True,
    help="Key to make.",
)
@click.option("--key-file", type=_file, help="Where to write the key  [default: USER.key].")
@click.option("--certificate-file", type=_file, help="Where to write the certificate  [default: USER.crt].")
@click.option("--kubeconfig", "kubeconfig_file", type=_file, help="Write a kubeconfig with both in it instead.")
@cluster_options
@click.option("--wait", type=DurationType(), help="Wait so long for operators, where they must approve: 10m.")
@log_key_option
@click.option("--overwrite", is_flag=True, help="Replace files that are there.")
@click.option("--output", type=click.Choice(["human", "json"]), default="human", show_default=True)
@service_options
def request(**options: Any) -> None:
    """Make a key and get a certificate for it.

    The key is made on this machine and never leaves it; its file gets mode 0600. Without --kubeconfig,
    the key and the certificate (with the CAs between it and the root, if there are any) are written
    to two files. The receipt, which proves that the certificate is on record, is written beside it
    (.tlog-proof). A certificate whose receipt does not hold is not written.

    Where operators must approve, the key is kept in its file, the request's id is printed and the exit
    code is 3: there is no certificate yet. With --wait the command goes on when they have approved.
    """
    outputs = _outputs(options)
    check_writable(outputs.files, overwrite=options["overwrite"])
    address = find_service(options["url"], options["ca"], options["token_file"])
    connection = ServiceConnection(address)
    cluster = cluster_of(connection, options) if outputs.kubeconfig_file is not None else None
    key = generate_key(options["key_type"])
    answer = connection.post("/v1/certificates", _body(key, options))
    pending = pending_request(answer)
    if pending is not None:
        kept = outputs.kept_key_file(pending)
        write_file(kept, _pem(key), 0o600)  # before anything else can fail: no key, no use for the approval
        answer = _wait(connection, pending, _Waiting(answer, kept, outputs), options)
    certificate = held_certificate(answer, options["log_key"] or address.log_key)
    written = outputs.write(cluster, _pem(key), certificate)
    if pending is not None:
        outputs.forget(kept)
    click.echo(report(certificate, outputs.kubeconfig_file, written, options["output"]))


def _outputs(options: dict[str, Any]) -> Outputs:
    stem = re.sub(r"[^A-Za-z0-9._-]", "_", options["user"]).lstrip(".") or "certificate"
    return Outputs(
        key_file=options["key_file"] or Path(f"{stem}.key"),
        certificate_file=options["certificate_file"] or Path(f"{stem}.crt"),
        kubeconfig_file=options["kubeconfig_file"],
    )


def _body(key: GeneratedKey, options: dict[str, Any]) -> dict[str, Any]:
    body: dict[str, Any] = {"csr": _csr(key, options["user"], options["groups"])}
    expires: timedelta | None = options["expires"]
    if expires is not None:
        body["expirationSeconds"] = int(expires.total_seconds())
    if options["profile"]:
        body["profile"] = options["profile"]
    return body


def _csr(key: GeneratedKey, user: str, groups: tuple[str, ...]) -> str:
    try:
        names = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
        names.append(x509.NameAttribute(NameOID.COMMON_NAME, user))
    except ValueError as fault:
        raise click.UsageError(str(fault)) from None
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(names)).sign(key, algorithm)
    return csr.public_bytes(Encoding.PEM).decode("ascii")


def _pem(key: GeneratedKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode("ascii")


def _wait(
    connection: ServiceConnection, request: str, waiting: "_Waiting", options: dict[str, Any]
) -> dict[str, Any]:
    """Wait as long as was asked for; without a certificate by then, the command ends here."""
    patience: timedelta | None = options["wait"]
    if patience is not None:
        click.echo(waiting.report("human"), err=True)
        if (answer := wait_for_certificate(connection, request, patience)) is not None:
            return answer
        click.echo(f"kubemint: request {request} still waits after {format_duration(patience)}", err=True)
    if patience is None or options["output"] == "json":
        click.echo(waiting.report(options["output"]))
    sys.exit(WAITING)


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A request that waits for operators, and the key that waits for its certificate."""

    answer: dict[str, Any]
    kept_key_file: Path
    outputs: Outputs

    def report(self, form: str) -> str:
        """Tell of it, as people read it or as JSON."""
        if form == "json":
            return json.dumps({**self.answer, "files": [str(self.kept_key_file)]}, indent=2)
        lines = [
            f"Request {self.answer['request']} waits for approval (needed: {self.answer['approvalsNeeded']}) "
            f"until {self.answer['expires']}.",
            f"The key is in {self.kept_key_file}.",
            f"Once it is approved: {self._next_command()}",
        ]
        return "\n".join(lines)

    def _next_command(self) -> str:
        """Give the command that writes what this one would have written."""
        words = ["kubemint", "requests", "fetch", self.answer["request"], "--key-file", str(self.kept_key_file)]
        if self.outputs.kubeconfig_file is not None:
            words += ["--kubeconfig", str(self.outputs.kubeconfig_file)]
        elif self.outputs.certificate_file != self.kept_key_file.with_suffix(".crt"):
            words += ["--certificate-file", str(self.outputs.certificate_file)]
        return shlex.join(words)
