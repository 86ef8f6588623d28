"""`kubemint kubernetes deny-list`: what is revoked now, as API servers can check it by themselves."""

import shlex
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, Final

import click
import yaml

from kubemint import config
from kubemint.commands.config_option import config_option
from kubemint.commands.placed_files import PlacedFile, hand_over, output_options
from kubemint.errors import ConfigurationError
from kubemint.kubernetes.deny_list import (
    DENY_LIST_MAX,
    admission_policies,
    denying_configuration,
    unanswered_kubeconfig,
)
from kubemint.ledger.revocations import RevocationReader
from kubemint.wiring import store_of

_KUBECONFIG: Final = "/etc/kubernetes/kubemint/deny-list.kubeconfig"


@click.command("deny-list")
@click.option(
    "--form",
    type=click.Choice(["admission-policy", "authorizer"]),
    default="admission-policy",
    show_default=True,
    help="A ValidatingAdmissionPolicy, or an authorizer that cannot answer.",
)
@config_option("Configuration that names the ledger")
@click.option(
    "--kubeconfig",
    "kubeconfig_file",
    help=f"Where the authorizer's kubeconfig will be on the API server's machine  [default: {_KUBECONFIG}].",
)
@output_options
def deny_list(
    form: str, config_file: Path | None, kubeconfig_file: str | None, output_dir: Path | None, overwrite: bool
) -> None:
    """Write what is revoked as a list for API servers.

    What is revoked and has not expired, for API servers 1.32 and later of clusters that may not wait
    for a webhook. The list is as old as its last writing: run this after each revocation, and apply
    what it writes. It names certificates, never users: by credential id, and by the group with the
    serial number (credentialGroup: true in the profile). A certificate without that group can be
    rewritten by its holder, and is then not in the list.

    \b
    admission-policy  refuses writes, deletions and exec with 403; get, list and watch go on, and so
                      does whoever may impersonate, or delete the policy
    authorizer        refuses everything, with 500 in place of 403; a file on each API server

    \b
    kubemint kubernetes deny-list | kubectl apply -f -
    kubemint kubernetes deny-list --form authorizer --output-dir out --overwrite
    """
    if form == "admission-policy" and kubeconfig_file is not None:
        raise click.UsageError("--kubeconfig is for --form authorizer.")
    names = _revoked(config_file)
    if form == "admission-policy":
        objects = admission_policies(names)
        files = [PlacedFile(name="deny-list.yaml", place=None, text=_text(objects))]
        steps = list(_policy_steps(len(names), len(objects) // 2, output_dir))
    else:
        files = _authorizer_files(names, kubeconfig_file or _KUBECONFIG)
        steps = [
            f"{_counted(len(names))} Set this flag on each API server, and take out"
            " --authorization-mode and each --authorization-webhook-*:",
            f"  --authorization-config={files[0].place}",
        ]
    hand_over(files, steps, output_dir, overwrite=overwrite)


def _revoked(config_file: Path | None) -> Sequence[str]:
    """Give the names, oldest revocation first: so a list that grows leaves those before where they are."""
    store = store_of(config.load(config.find_config(config_file)))
    if not store.exists():
        raise ConfigurationError("ledger.url", ["there is no ledger"])
    reader = RevocationReader(store.for_reading(readers=1))
    return reader.credentials(datetime.now(UTC), DENY_LIST_MAX + 1)[::-1]


def _text(objects: Sequence[Any]) -> str:
    if not objects:
        return "# Nothing is revoked that has not expired.\n"
    return yaml.safe_dump_all(objects, sort_keys=False, width=2**20)


def _policy_steps(count: int, policies: int, output_dir: Path | None) -> Iterator[str]:
    if count:
        file = "-" if output_dir is None else shlex.quote(str(output_dir / "deny-list.yaml"))
        yield f"{_counted(count)} Policies: {policies}. Apply them: kubectl apply -f {file}"
    else:
        yield "Nothing is revoked that has not expired: there is nothing to apply."
    yield (
        "If the list got shorter, delete the policies that are no longer in it, or they go on refusing: kubectl"
        f" delete validatingadmissionpolicy,validatingadmissionpolicybinding kubemint-revoked-N (N from {policies}"
        " on)"
    )


def _counted(count: int) -> str:
    return f"Credential ids and groups with a serial number: {count}."


def _authorizer_files(names: Sequence[str], kubeconfig_file: str) -> list[PlacedFile]:
    place = PurePosixPath(kubeconfig_file).parent / "authorization.yaml"
    text = denying_configuration(names, kubeconfig_file=kubeconfig_file)
    return [
        PlacedFile(name="authorization.yaml", place=str(place), text=text),
        PlacedFile(name="deny-list.kubeconfig", place=kubeconfig_file, text=unanswered_kubeconfig()),
    ]
