"""`kubemint kubernetes authorizer-config`: what makes kube-apiserver ask this service about certificates."""

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final
from urllib.parse import urlsplit

import click
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from kubemint import config
from kubemint.client.options import DurationType
from kubemint.commands.config_option import config_option
from kubemint.commands.placed_files import PlacedFile, hand_over, output_options
from kubemint.commands.served_names import served_names, serves
from kubemint.config import Config
from kubemint.durations import format_duration
from kubemint.errors import ConfigurationError
from kubemint.kubernetes.authorizer_config import (
    UNAUTHORIZED_TTL,
    FailurePolicy,
    authorization_configuration,
    legacy_flags,
    webhook_kubeconfig,
)
from kubemint.signing.pem import load_certificates

PATH: Final = "/kubernetes/authorize"
FOLDER: Final = PurePosixPath("/etc/kubernetes/kubemint")  # on the API server's machine
_LOG: Final = "/v1/log"  # how the log's origin ends that `kubemint init` makes
_ANY_HOST: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared, not listened on
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_file = click.Path(dir_okay=False, path_type=Path)


@click.command("authorizer-config")
@config_option("Configuration of the service")
@click.option("--url", help="Address of the service, as API servers reach it  [default: the configuration's].")
@click.option("--ca", "ca_file", type=_file, help="CA certificates that prove it  [default: the configuration's].")
@click.option(
    "--webhook-kubeconfig",
    default=str(FOLDER / "webhook.kubeconfig"),
    show_default=True,
    help="Where the webhook's kubeconfig will be on the API server's machine.",
)
@click.option("--webhook-token", help=f"Where the token will be there  [default: {FOLDER / 'webhook.token'}].")
@click.option("--client-certificate", help="Where a client certificate will be there, in place of a token.")
@click.option("--client-key", help="Where its key will be there.")
@click.option(
    "--failure-policy",
    type=click.Choice([policy.value for policy in FailurePolicy]),
    help=f"What counts while the service does not answer  [default: {FailurePolicy.NO_OPINION.value}].",
)
@click.option(
    "--unauthorized-ttl",
    type=DurationType(),
    default=format_duration(UNAUTHORIZED_TTL),
    show_default=True,
    help="For how long at most a revoked certificate goes on; shorter asks more often.",
)
@click.option("--legacy", is_flag=True, help="For API servers before 1.32: flags, and no conditions.")
@output_options
def authorizer_config(**options: Any) -> None:
    """Write what makes kube-apiserver ask this service.

    It asks, before RBAC is looked at, whether a certificate is revoked.

    For 1.32 and later that is an AuthorizationConfiguration and the kubeconfig of the webhook. With
    --legacy it is the kubeconfig, and the older flags; there the certificates must carry their serial
    number as a group (credentialGroup: true in the profile).

    \b
    --failure-policy NoOpinion  while the service is down, revoked certificates work again
    --failure-policy Deny       while it is down, every certificate but system:masters is refused;
                                tokens, kubelets and the control plane go on in both cases

    \b
    kubemint kubernetes authorizer-config --config /etc/kubemint/kubemint.yaml --output-dir out
    kubemint kubernetes authorizer-config --url https://kubemint.example.com:8443 --ca ca.crt \\
      --failure-policy Deny
    """
    if options["legacy"] and options["failure_policy"] is not None:
        raise click.UsageError(
            "--failure-policy cannot be chosen with --legacy: an outage lets everybody through."
        )
    url, ca_pem = _service(options)
    kubeconfig_file, certificate = options["webhook_kubeconfig"], options["client_certificate"]
    token_file = options["webhook_token"] or (None if certificate else str(FOLDER / "webhook.token"))
    kubeconfig = webhook_kubeconfig(
        server_url=url,
        ca_pem=ca_pem,
        token_file=token_file,
        client_certificate_file=certificate,
        client_key_file=options["client_key"],
    )
    files = [PlacedFile(name="webhook.kubeconfig", place=kubeconfig_file, text=kubeconfig)]
    if not options["legacy"]:
        files.insert(0, _authorization(kubeconfig_file, options))
    steps = [*_proof_steps(token_file, certificate), *_flag_steps(options), *_trial_steps(options), *_notes(url)]
    hand_over(files, steps, options["output_dir"], overwrite=options["overwrite"])


def _service(options: Mapping[str, Any]) -> tuple[str, bytes]:
    """Give the address to post to and the certificates that prove it."""
    url, ca_file = options["url"], options["ca_file"]
    settings = None
    if url is None or ca_file is None:
        settings = config.load(config.find_config(options["config_file"]))
    base = _own_url(settings) if url is None and settings is not None else str(url)
    if ca_file is not None:
        certificates = tuple(load_certificates(ca_file))
    elif settings is not None:
        certificates = _own_ca(settings, base, options)
    return base.rstrip("/") + PATH, b"".join(one.public_bytes(Encoding.PEM) for one in certificates)


def _own_url(settings: Config) -> str:
    """Give the address that the log is named by, which is the service's; else the one that it listens on."""
    if settings.log.origin.endswith(_LOG):
        return f"https://{settings.log.origin.removesuffix(_LOG)}"
    host = settings.server.host
    if host in _ANY_HOST:
        raise ConfigurationError("service", ["the configuration names no address for others; give --url"])
    return f"https://{f'[{host}]' if ':' in host else host}:{settings.server.port}"


def _own_ca(settings: Config, url: str, options: Mapping[str, Any]) -> tuple[x509.Certificate, ...]:
    """Give what is above the service's certificate in its file; alone, it is trusted by itself."""
    if settings.server.tls is None:
        raise ConfigurationError("service", ["it serves plain HTTP; give --url and --ca of what stands before it"])
    file = settings.server.tls.certificate_file
    first, *above = load_certificates(file)
    host = _host(url)
    if host is not None and not serves(first, host):
        click.echo(
            f"warning: {file} is for {', '.join(served_names(first)) or 'no name'} and not for {host}: the API"
            f" server will not trust it, and {_unanswered(options)}. Make one for that name"
            f" (kubemint init --tls-name {host}), or give --ca.",
            err=True,
        )
    if not above and first.issuer != first.subject:
        click.echo(
            "warning: the kubeconfig trusts the service's own certificate, as its file has no CA: once it is"
            " renewed, API servers cannot ask. --ca names the CA.",
            err=True,
        )
    return tuple(above) or (first,)


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None  # which is refused where the kubeconfig is written


def _unanswered(options: Mapping[str, Any]) -> str:
    """Say what comes of an API server that gets no answer."""
    is_refused = options["failure_policy"] == FailurePolicy.DENY
    return "every certificate will be refused" if is_refused else "nothing will be refused"


def _authorization(kubeconfig_file: str, options: Mapping[str, Any]) -> PlacedFile:
    text = authorization_configuration(
        kubeconfig_file=kubeconfig_file,
        failure_policy=FailurePolicy(options["failure_policy"] or FailurePolicy.NO_OPINION),
        unauthorized_ttl=options["unauthorized_ttl"],
    )
    return PlacedFile(name="authorization.yaml", place=_place_beside(kubeconfig_file), text=text)


def _place_beside(kubeconfig_file: str) -> str:
    return str(PurePosixPath(kubeconfig_file).parent / "authorization.yaml")


def _proof_steps(token_file: str | None, certificate: str | None) -> Iterator[str]:
    if token_file is not None:
        yield f"Copy the token of the role webhook (webhook.token, from kubemint init) to {token_file}, mode 0600."
    if certificate is not None:
        yield f"{certificate} must be among webhook.clients of kubemint's configuration, or have the role webhook."


def _flag_steps(options: Mapping[str, Any]) -> Iterator[str]:
    kubeconfig_file = options["webhook_kubeconfig"]
    yield "With kubeadm, kube-apiserver sees the folders that its manifest mounts: add one for these files."
    if not options["legacy"]:
        yield "Set this flag on each API server; --authorization-mode and each --authorization-webhook-* go:"
        yield f"  --authorization-config={_place_beside(kubeconfig_file)}"
        return
    yield "Set these flags on each API server:"
    yield from (
        f"  {flag}"
        for flag in legacy_flags(kubeconfig_file=kubeconfig_file, unauthorized_ttl=options["unauthorized_ttl"])
    )
    yield "Certificates must carry their serial number as a group: credentialGroup: true in each profile."
    yield (
        "Risk: while kubemint does not answer, each request waits for up to 30 s and goes on to RBAC:"
        " revoked certificates work again. Whoever is in system:masters is never asked about."
    )


def _trial_steps(options: Mapping[str, Any]) -> Iterator[str]:
    """Say how to see that it works: a mistake on the way to the service shows in nothing else."""
    seconds = int(options["unauthorized_ttl"].total_seconds()) + 1
    yield "To see that it works, with the requester's token for the first line and the operator's for the third:"
    yield from (
        f"  {line}"
        for line in (
            "kubemint request --user revocation-test --kubeconfig test.kubeconfig",
            "kubectl --kubeconfig test.kubeconfig auth can-i get pods   # yes or no",
            "kubemint revoke --user revocation-test --yes",
            "kubectl --kubeconfig test.kubeconfig auth can-i get pods   "
            f"# {seconds} s later: Forbidden, this certificate was revoked",
        )
    )
    yield (
        '  In GET /metrics of the service, kubemint_webhook_answers_total{outcome="denied"} has then grown. If no'
        " outcome grows, API servers do not reach the service, or do not trust it: their own log says why."
    )


def _notes(url: str) -> Iterator[str]:
    if urlsplit(url).hostname in _LOOPBACK:
        yield f"warning: {url} is on the API server's own machine; --url names an address for others."
