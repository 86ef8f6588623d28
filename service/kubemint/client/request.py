"""`kubemint request`: make a key here, ask for a certificate, write both down."""

import json
import re
import sys
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import click
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from kubemint.client.connection import ServiceConnection, find_service
from kubemint.client.files import KubeconfigCluster, check_writable, kubeconfig, read_text, write_file
from kubemint.client.options import DurationType, service_options
from kubemint.client.receipts import RECEIPT_SUFFIX, LogKey, check_receipt, first_certificate
from kubemint.client.waiting import pending_request, wait_for_certificate
from kubemint.errors import ConfigurationError, InvalidProof, ServiceRefused, ServiceUnavailable
from kubemint.transparency.checkpoint import NoteVerifier
from kubemint.transparency.receipt import parse_receipt
from kubemint.x509.generate import GENERATED_KEY_TYPES, GeneratedKey, generate_key

WAITING: Final = 3  # exit code: asked for, and not there yet

_file = click.Path(dir_okay=False, path_type=Path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """The files to write; a kubeconfig stands in for key and certificate."""

    key_file: Path
    certificate_file: Path
    kubeconfig_file: Path | None

    @property
    def files(self) -> tuple[Path, ...]:
        """Those that may be written."""
        return (*self.secrets, self.receipt_file)

    @property
    def secrets(self) -> tuple[Path, ...]:
        """Those that are written for each certificate."""
        return (self.kubeconfig_file,) if self.kubeconfig_file else (self.key_file, self.certificate_file)

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
        if kept not in self.secrets:
            kept.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterOptions:
    """What was said of the cluster on the command line; the service knows the rest."""

    name: str | None
    server: str | None
    ca_file: Path | None


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
@click.option("--cluster-name", help="Cluster's name in the kubeconfig  [default: the service's].")
@click.option("--cluster-server", help="API server's address in the kubeconfig  [default: the service's].")
@click.option("--cluster-ca", type=_file, help="API server's CA in the kubeconfig  [default: the service's].")
@click.option("--wait", type=DurationType(), help="Wait so long for operators, where they must approve: 10m.")
@click.option("--log-key", type=LogKey(), help="Public key of the log, which must have signed the receipt.")
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
    cluster = None
    if outputs.kubeconfig_file is not None:
        cluster = _cluster(
            connection,
            ClusterOptions(
                name=options["cluster_name"], server=options["cluster_server"], ca_file=options["cluster_ca"]
            ),
        )
    key = generate_key(options["key_type"])
    answer = connection.post("/v1/certificates", _body(key, options))
    pending = pending_request(answer)
    if pending is not None:
        kept = outputs.kept_key_file(pending)
        write_file(kept, _pem(key), 0o600)  # before anything else can fail: no key, no use for the approval
        if options["wait"] is None:
            click.echo(_pending_report(answer, kept, options["output"]))
            sys.exit(WAITING)
        click.echo(_pending_report(answer, kept, "human"), err=True)
        answer = wait_for_certificate(connection, pending, options["wait"])
    receipt = _receipt(_checked(answer), options["log_key"] or address.log_key)
    _write(outputs, cluster, key, answer)
    if receipt is None:
        outputs.receipt_file.unlink(missing_ok=True)  # an older one would be of another certificate
    else:
        write_file(outputs.receipt_file, receipt, 0o644)
    if pending is not None:
        outputs.forget(kept)
    written = outputs.files if receipt is not None else outputs.secrets
    click.echo(_report(answer, outputs.kubeconfig_file, written, options["output"]))


def _outputs(options: dict[str, Any]) -> Outputs:
    stem = re.sub(r"[^A-Za-z0-9._-]", "_", options["user"]).lstrip(".") or "certificate"
    return Outputs(
        key_file=options["key_file"] or Path(f"{stem}.key"),
        certificate_file=options["certificate_file"] or Path(f"{stem}.crt"),
        kubeconfig_file=options["kubeconfig_file"],
    )


def _cluster(connection: ServiceConnection, given: ClusterOptions) -> KubeconfigCluster:
    """Put the cluster together from the options, and from the service where they leave something open."""
    known: dict[str, Any] = {}
    if not (given.name and given.server and given.ca_file):
        try:
            known = connection.get("/v1/cluster")
        except ServiceRefused as refusal:
            if refusal.status != 404:
                raise
    server = given.server or known.get("server")
    if server is None:
        raise ConfigurationError("cluster", ["the service does not know the API server; give --cluster-server"])
    if given.ca_file is not None:
        authority = _certificates(given.ca_file)
    else:
        authority = known.get("certificateAuthority") or connection.get("/v1/ca")["trustBundle"]
    name = given.name or known.get("name") or "kubernetes"
    return KubeconfigCluster(name=name, server=server, certificate_authority=authority)


def _certificates(file: Path) -> str:
    pem = read_text(file)
    try:
        x509.load_pem_x509_certificates(pem.encode("ascii"))
    except ValueError:
        raise ConfigurationError(str(file), ["there is no certificate in PEM that can be read"]) from None
    return pem


def _body(key: GeneratedKey, options: dict[str, Any]) -> dict[str, Any]:
    body: dict[str, Any] = {"csr": _csr(key, options["user"], options["groups"])}
    expires: timedelta | None = options["expires"]
    if expires is not None:
        body["expirationSeconds"] = int(expires.total_seconds())
    if options["profile"]:
        body["profile"] = options["profile"]
    return body


def _checked(answer: dict[str, Any]) -> dict[str, Any]:
    """Let an answer pass only if it is that of a certificate: nothing is written from another.

    Raises:
        ServiceUnavailable: it is not.
    """
    texts = ("certificate", "user", "notAfter", "profile", "serialNumber")
    lists = ("chain", "groups")
    are_texts = all(isinstance(answer.get(name), str) for name in texts)
    are_lists = all(isinstance(answer.get(name), list) for name in lists)
    if not are_texts or not are_lists or "logIndex" not in answer:
        raise ServiceUnavailable("the service's answer holds no certificate; is it kubemint?")
    return answer


def _receipt(answer: dict[str, Any], log_key: NoteVerifier | None) -> str | None:
    """Give the receipt of a certificate; None where the service gives none and no log is known.

    Raises:
        InvalidProof: it does not prove that this certificate is on record.
    """
    text = answer.get("receipt")
    if text is None and log_key is None:
        return None
    if not isinstance(text, str):
        raise InvalidProof("the service gave no receipt: nothing shows that the certificate is on record")
    try:
        check_receipt(parse_receipt(text), first_certificate(answer["certificate"]), log_key)
    except InvalidProof as fault:
        message = (
            f"the receipt does not show that the certificate is on record; it was not written: {fault.message}"
        )
        raise InvalidProof(message) from None
    return text


def _csr(key: GeneratedKey, user: str, groups: tuple[str, ...]) -> str:
    try:
        names = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
        names.append(x509.NameAttribute(NameOID.COMMON_NAME, user))
    except ValueError as fault:
        raise click.UsageError(str(fault)) from None
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(names)).sign(key, algorithm)
    return csr.public_bytes(Encoding.PEM).decode("ascii")


def _write(outputs: Outputs, cluster: KubeconfigCluster | None, key: GeneratedKey, answer: dict[str, Any]) -> None:
    key_pem = _pem(key)
    certificate_pem = answer["certificate"] + "".join(answer["chain"])
    if outputs.kubeconfig_file is not None and cluster is not None:
        text = kubeconfig(cluster, answer["user"], certificate_pem, key_pem)
        write_file(outputs.kubeconfig_file, text, 0o600)
        return
    write_file(outputs.key_file, key_pem, 0o600)
    write_file(outputs.certificate_file, certificate_pem, 0o644)


def _pem(key: GeneratedKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode("ascii")


def _pending_report(answer: dict[str, Any], kept: Path, form: str) -> str:
    if form == "json":
        return json.dumps({**answer, "files": [str(kept)]}, indent=2)
    lines = [
        f"Request {answer['request']} waits for approval (needed: {answer['approvalsNeeded']}) "
        f"until {answer['expires']}.",
        f"The key is in {kept}.",
        f"Once it is approved: kubemint requests show {answer['request']} --output pem",
    ]
    return "\n".join(lines)


def _report(answer: dict[str, Any], kubeconfig_file: Path | None, written: tuple[Path, ...], form: str) -> str:
    files = [str(file) for file in written]
    if form == "json":
        return json.dumps({**answer, "files": files}, indent=2)
    groups = ", ".join(answer["groups"]) or "none"
    lines = [
        f"Certificate for {answer['user']} (groups: {groups}), good until {answer['notAfter']}.",
        f"Profile {answer['profile']}, serial number {answer['serialNumber']}, log entry {answer['logIndex']}.",
        f"Wrote {' and '.join(files)}.",
    ]
    if kubeconfig_file is not None:
        lines.append(f"Try: kubectl --kubeconfig {kubeconfig_file} auth can-i --list")
    return "\n".join(lines)
