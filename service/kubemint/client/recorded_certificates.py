"""`kubemint certificates`: what was given out, to whom and why, as the record has it."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import click
from cryptography.hazmat.primitives.serialization import Encoding

from kubemint.client.certificate_files import read_certificate
from kubemint.client.certificate_terms import checked_record, describe_record
from kubemint.client.connection import ServiceConnection, find_service
from kubemint.client.options import service_options
from kubemint.client.pages import PAGE, walk
from kubemint.client.receipts import check_receipt, first_certificate, log_key_option
from kubemint.client.selection import MomentType
from kubemint.client.tables import show_rows
from kubemint.client.terms import printable
from kubemint.documents import parse_json
from kubemint.errors import ConfigurationError, InvalidProof, ServiceUnavailable
from kubemint.record import rfc3339
from kubemint.transparency.checkpoint import NoteVerifier
from kubemint.transparency.receipt import Receipt, parse_receipt
from kubemint.x509.certificate import CREDENTIAL_ID_PREFIX, credential_id, format_serial

STATES: Final = ("valid", "expired", "revoked")
_COLUMNS: Final = ("SERIAL NUMBER", "USER", "REQUESTER", "PROFILE", "UNTIL", "STATE")
_HEX: Final = re.compile(r"[0-9a-f]+", re.ASCII)
_SERIAL_OCTETS: Final = 20  # RFC 5280 4.1.2.2
_SHA256_DIGITS: Final = 64


class CertificateName(click.ParamType[str]):
    """What finds a certificate: its serial number, its credential id, or a file with it."""

    name = "certificate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Give the serial number or credential id as the service knows it, or say how it is written."""
        text = str(value).strip()
        digits = text.removeprefix("serial=").removeprefix(CREDENTIAL_ID_PREFIX).replace(":", "").lower()
        if _HEX.fullmatch(digits) and len(digits) == _SHA256_DIGITS:
            return CREDENTIAL_ID_PREFIX + digits
        is_number = _HEX.fullmatch(digits) and not text.startswith(CREDENTIAL_ID_PREFIX)
        if is_number and 0 < int(digits, 16) < 1 << 8 * _SERIAL_OCTETS:
            return format_serial(int(digits, 16))
        if not Path(text).is_file():
            known = f"a serial number in hex, a credential id ({CREDENTIAL_ID_PREFIX}…) nor a file"
            self.fail(f"{value!r} is neither {known}", param, ctx)
        try:
            return credential_id(read_certificate(Path(text)).public_bytes(Encoding.DER))
        except ConfigurationError as fault:
            self.fail(fault.message, param, ctx)


@click.group()
def certificates() -> None:
    """See what was given out, to whom and why.

    Auditors and operators see all certificates, others those that they asked for.
    """


@certificates.command("list")
@click.option("--requester", help="Who asked for it: token:ci, oidc:github:…, as the record names them.")
@click.option("--user", help="User name (CN), exactly.")
@click.option("--group", help="One of its groups (O), exactly.")
@click.option("--profile", help="Profile of the policy that granted it.")
@click.option("--state", type=click.Choice(STATES), help="What has become of it  [default: whatever].")
@click.option("--issued-since", type=MomentType(ago=True), help="Issued then or later: a time, or 8h ago as 8h.")
@click.option("--issued-until", type=MomentType(ago=True), help="Issued before then: a time, or 8h ago as 8h.")
@click.option("--limit", type=click.IntRange(1), default=PAGE, show_default=True, help="How many at most.")
@click.option("--output", type=click.Choice(["human", "json"]), default="human", show_default=True)
@service_options
def list_certificates(limit: int, output: str, **options: Any) -> None:
    """List certificates, newest first.

    All that is given must fit. Columns: serial number, user, requester, profile, until when it is
    good, state.

    \b
    kubemint certificates list --requester token:ci --issued-since 2d
    kubemint certificates list --group admins --state valid --output json
    """
    query = dict(_query(options))
    connection = ServiceConnection(find_service(options["url"], options["ca"], options["token_file"]))
    found = [checked_record(item) for item in walk(connection, "/v1/certificates", query, limit)]
    if output == "json":
        click.echo(json.dumps(found, indent=2))
        return
    if not found:
        click.echo("no such certificate", err=True)
        return
    names = ("serialNumber", "user", "requester", "profile", "notAfter", "state")
    show_rows(_COLUMNS, ([record[name] for name in names] for record in found))
    if len(found) == limit:
        click.echo(f"These are the newest {limit}; there may be more (--limit).", err=True)


@certificates.command()
@click.argument("certificate", type=CertificateName())
@click.option(
    "--output",
    type=click.Choice(["human", "json", "pem", "receipt"]),
    default="human",
    show_default=True,
    help="The record, or the certificate or receipt alone.",
)
@log_key_option
@service_options
def show(certificate: str, output: str, log_key: NoteVerifier | None, **options: Any) -> None:
    """Show who has a certificate, and why.

    CERTIFICATE is its serial number (as openssl x509 -serial prints it), its credential id (as an
    API server's audit log has it: X509SHA256=…), or a file: PEM, DER or a kubeconfig. A file whose
    name is hex digits alone is written ./NAME.

    It tells who asked, how that was proven, by which rule it was granted, who approved it and which
    revocation took it back. The receipt, which proves that it is on record, is fetched and checked.
    Exit code 1 if the receipt does not hold.

    \b
    kubemint certificates show 11d1ef24402417f2a955cde12ddafa5e6c6a1aec
    kubemint certificates show jane.crt --output receipt > jane.tlog-proof
    """
    address = find_service(options["url"], options["ca"], options["token_file"])
    connection = ServiceConnection(address)
    record = checked_record(connection.get(f"/v1/certificates/{certificate}"))
    if certificate not in {record["serialNumber"], record["credentialId"]}:
        raise ServiceUnavailable("the service's answer is the record of another certificate")
    if output == "pem":
        click.echo(record["certificate"], nl=False)
        return
    if output == "human":
        click.echo(describe_record(record))
    receipt = _text(connection.get_octets(f"/v1/certificates/{certificate}/receipt"))
    told = _check(receipt, record, log_key or address.log_key)
    if output == "json":
        click.echo(json.dumps({**record, "receipt": receipt}, indent=2))
    elif output == "receipt":
        click.echo(receipt, nl=False)
    click.echo(told, err=output != "human")


def _query(options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name in ("requester", "user", "group", "profile", "state"):
        if options[name] == "":
            raise click.UsageError(f"--{name} is empty.")
        if options[name] is not None:
            yield name, options[name]
    for name in ("since", "until"):
        if (moment := options[f"issued_{name}"]) is not None:
            yield name, rfc3339(moment)


def _text(receipt: bytes) -> str:
    try:
        return receipt.decode()
    except UnicodeDecodeError:
        raise InvalidProof("the receipt is not UTF-8: nothing shows that the certificate is on record") from None


def _check(receipt: str, record: Mapping[str, Any], log_key: NoteVerifier | None) -> str:
    """Check that a receipt is for the certificate of a record and says the same, and tell what it proves.

    Raises:
        InvalidProof: nothing, or something else.
    """
    try:
        proof = parse_receipt(receipt)
        checkpoint = check_receipt(proof, first_certificate(record["certificate"]), log_key)
        _compare(proof, record)
    except InvalidProof as fault:
        message = f"the receipt does not show that the certificate is on record: {printable(fault.message)}"
        raise InvalidProof(message) from None
    signed = "signed by" if log_key is not None else "whose signature was not checked (no --log-key), of"
    return f"{'Receipt:':<14}entry {proof.index} of {checkpoint.size}, {signed} {printable(checkpoint.origin)}"


def _compare(proof: Receipt, record: Mapping[str, Any]) -> None:
    """Compare what the service says with the entry that a checked receipt brings along."""
    entry = {**parse_json(proof.extra or b""), "logIndex": proof.index, "certificate": record["certificate"]}
    if differing := sorted(name for name in record if name in entry and record[name] != entry[name]):
        raise InvalidProof(f"the entry says something else than the service: {', '.join(differing)}")
