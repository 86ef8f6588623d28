"""`kubemint kubernetes deny-list`: what is revoked now, as API servers can check it by themselves."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Final

import click
import yaml

from kubemint import config
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
@click.option(
    "--config",
    "config_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Configuration that names the ledger  [default: found].",
)
@click.option(
    "--kubeconfig",
    "kubeconfig_file",
    help=f"Where the authorizer's kubeconfig will be on the API server's machine  [default: {_KUBECONFIG}].",
)
@output_options
def deny_list(
    form: str, config_file: Path | None, kubeconfig_file: str | None, output_dir: Path | None, overwrite: bool
) -> None:
    """Write what is revoked and has not expired as a list for API servers (1.32 and later).

    For clusters that may not wait for a webhook. The list is as old as its last writing: run this after
    each revocation. It names credential ids, never users.

    \b
    admission-policy  refuses writes, deletions and exec with 403; get, list and watch go on, and so
                      does whoever may impersonate, or delete the policy
    authorizer        refuses everything, with 500 in place of 403; a file on each API server

    \b
    kubemint kubernetes deny-list | kubectl apply -f -
    kubemint kubernetes deny-list --form authorizer --output-dir out
    """
    if form == "admission-policy" and kubeconfig_file is not None:
        raise click.UsageError("--kubeconfig is for --form authorizer.")
    credential_ids = _revoked(config_file)
    if form == "admission-policy":
        files = [PlacedFile(name="deny-list.yaml", place=None, text=_policies(credential_ids))]
        steps = list(_policy_steps(len(credential_ids)))
    else:
        files = _authorizer_files(credential_ids, kubeconfig_file or _KUBECONFIG)
        steps = [
            f"Credential ids: {len(credential_ids)}. Set this flag on each API server, and take out"
            " --authorization-mode and each --authorization-webhook-*:",
            f"  --authorization-config={files[0].place}",
        ]
    hand_over(files, steps, output_dir, overwrite=overwrite)


def _revoked(config_file: Path | None) -> Sequence[str]:
    """Give the ids, oldest revocation first: so a list that grows leaves those before where they are."""
    store = store_of(config.load(config.find_config(config_file)))
    if not store.exists():
        raise ConfigurationError("ledger.url", ["there is no ledger"])
    reader = RevocationReader(store.for_reading(readers=1))
    return reader.credential_ids(datetime.now(UTC), DENY_LIST_MAX + 1)[::-1]


def _policies(credential_ids: Sequence[str]) -> str:
    if not credential_ids:
        return "# Nothing is revoked that has not expired.\n"
    return yaml.safe_dump_all(admission_policies(credential_ids), sort_keys=False, width=2**20)


def _policy_steps(count: int) -> list[str]:
    return [
        f"Credential ids: {count}. Apply the objects: kubectl apply -f FILE",
        "What a shorter list leaves over refuses until it is deleted: "
        "kubectl get validatingadmissionpolicies,validatingadmissionpolicybindings -l kubemint/deny-list=true",
    ]


def _authorizer_files(credential_ids: Sequence[str], kubeconfig_file: str) -> list[PlacedFile]:
    place = PurePosixPath(kubeconfig_file).parent / "authorization.yaml"
    text = denying_configuration(credential_ids, kubeconfig_file=kubeconfig_file)
    return [
        PlacedFile(name="authorization.yaml", place=str(place), text=text),
        PlacedFile(name="deny-list.kubeconfig", place=kubeconfig_file, text=unanswered_kubeconfig()),
    ]
