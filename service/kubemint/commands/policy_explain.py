"""`kubemint policy explain`: why a request would be granted or refused, rule by rule; nothing is signed."""

import base64
import json
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import click
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from kubemint.client.connection import ServiceConnection, find_service
from kubemint.client.options import DurationType, service_options
from kubemint.documents import load_yaml_file, read_file
from kubemint.errors import ReasonedError, ServiceUnavailable
from kubemint.policy.cases import UNBOUND_ISSUER, load_requester
from kubemint.policy.explain import explain as explain_decision
from kubemint.policy_file import read_policy
from kubemint.signing.pem import load_certificates
from kubemint.web.decisions import explanation_fields
from kubemint.x509.issuer import IssuerLimits
from kubemint.x509.request import CsrEncoding, SigningRequest, Submission, read_request

_PRIVATE_KEY: Final = "private-key-sent"  # as `read_request` calls it
_file = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.option("--csr", "csr_file", type=_file, required=True, help="Certificate signing request, PEM or DER.")
@click.option("--profile", help="Profile of the policy, where several are for the requester.")
@click.option("--expires", type=DurationType(), help="How long it should be good for: 15m, 8h.")
@click.option("--policy", "policy_file", type=_file, help="Policy to ask on this machine, without a service.")
@click.option("--requester", "requester_file", type=_file, help="Who asks it, as YAML: {oidc: NAME, claims: {…}}.")
@click.option("--ca-certificate", type=_file, help="CA whose end and key count  [default: none].")
@click.option("--output", type=click.Choice(["human", "json"]), default="human", show_default=True)
@service_options
def explain(**options: Any) -> None:
    """Show the verdict on a CSR and every rule that was looked at.

    With --policy and --requester on this machine alone, else by the service, for whoever you are to
    it. Exit code 0 if it would be granted, 1 if refused.

    \b
    kubemint policy explain --csr jane.csr --profile developers --expires 8h
    kubemint policy explain --csr jane.csr --policy policy.yaml --requester requester.yaml
    """
    _check_options(options)
    try:
        request = read_request(_submission(options))  # what is no CSR, a key for instance, is not sent anywhere
    except ReasonedError as fault:
        click.echo("\n".join(_fault_lines(fault, options["csr_file"])), err=True)
        sys.exit(1)
    answer = _here(request, options) if options["policy_file"] else _at_the_service(request, options)
    click.echo(json.dumps(answer, indent=2) if options["output"] == "json" else "\n".join(_lines(answer)))
    if answer["verdict"] != "granted":
        sys.exit(1)


def _fault_lines(fault: ReasonedError, csr_file: Path) -> Iterator[str]:
    """Say what is wrong with a file that nobody but this command has read."""
    if any(reason.code == _PRIVATE_KEY for reason in fault.reasons):
        yield f"kubemint: {csr_file}: holds a private key; give a CSR. The file was read here and sent nowhere."
        return
    yield f"kubemint: {csr_file}: {fault.message}"
    told = (reason for reason in fault.reasons if reason.message != fault.message)
    yield from (f"  - {reason.message} [{reason.path}]" for reason in told)


def _check_options(options: Mapping[str, Any]) -> None:
    if (options["policy_file"] is None) != (options["requester_file"] is None):
        raise click.UsageError("--policy and --requester go together.")
    if options["policy_file"] is None and options["ca_certificate"] is not None:
        raise click.UsageError("--ca-certificate needs --policy; the service has its own CA.")
    if options["policy_file"] is not None and any(options[name] for name in ("url", "ca", "token_file")):
        raise click.UsageError("--policy asks no service; leave out --url, --ca and --token-file.")


def _submission(options: Mapping[str, Any]) -> Submission:
    csr = read_file(options["csr_file"])
    expires: timedelta | None = options["expires"]
    return Submission(
        csr=csr,
        encoding=CsrEncoding.PEM if b"-----BEGIN" in csr else CsrEncoding.DER,
        expiration_seconds=None if expires is None else int(expires.total_seconds()),
        profile=options["profile"],
    )


def _here(request: SigningRequest, options: Mapping[str, Any]) -> dict[str, Any]:
    policy_file, requester_file = options["policy_file"], options["requester_file"]
    policy = read_policy(read_file(policy_file), str(policy_file), {})
    requester = load_requester(load_yaml_file(requester_file), str(requester_file))
    issuer = _issuer(options["ca_certificate"]) if options["ca_certificate"] else UNBOUND_ISSUER
    return explanation_fields(request, explain_decision(request, requester, policy, datetime.now(UTC), issuer))


def _issuer(file: Path) -> IssuerLimits:
    certificate = load_certificates(file)[0]
    return IssuerLimits(
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        spki_der=certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
    )


def _at_the_service(request: SigningRequest, options: Mapping[str, Any]) -> dict[str, Any]:
    connection = ServiceConnection(find_service(options["url"], options["ca"], options["token_file"]))
    base64_lines = base64.encodebytes(request.csr_der).decode("ascii")
    body: dict[str, Any] = {
        "csr": f"-----BEGIN CERTIFICATE REQUEST-----\n{base64_lines}-----END CERTIFICATE REQUEST-----\n",
        "expirationSeconds": request.expiration_seconds,
        "profile": request.profile,
    }
    answer = connection.post("/v1/decisions", {name: value for name, value in body.items() if value is not None})
    if not isinstance(answer.get("trace"), list) or answer.get("verdict") not in {"granted", "refused"}:
        raise ServiceUnavailable("the service's answer holds no verdict; is it kubemint?")
    return answer


def _lines(answer: Mapping[str, Any]) -> Iterator[str]:
    profile = f"profile {answer['profile']}" if answer["profile"] else "no profile"
    yield f"{answer['verdict']}: {profile}, policy {answer['policy']}"
    yield f"  user {answer['user']}, groups {', '.join(answer['groups']) or 'none'}, key {answer['keyType']}"
    if "notAfter" in answer:
        yield f"  good from {answer['notBefore']} until {answer['notAfter']}"
    for step in answer["trace"]:
        yield f"  {'passed' if step['passed'] else 'FAILED'}  {step['rule']}"
        yield from (f"          {_reason(reason)}" for reason in step["reasons"])
    told = [reason for step in answer["trace"] for reason in step["reasons"]]
    yield from (f"  {_reason(reason)}" for reason in answer["reasons"] if reason not in told)


def _reason(reason: Mapping[str, str]) -> str:
    return f"{reason['code']}: {reason['message']} [{reason['path']}]"
