"""Revocations as a list that API servers check by themselves, for clusters that may not wait for a webhook.

A list holds names of two kinds: credential ids, and groups with a serial number (`kubemint:serial:…`). The
holder of a certificate can rewrite what is not signed in it (`kubemint.x509.twin`, or something behind the
signature), and has another id then; the group is signed. So a list of ids alone stops only who does not do that.

What an API server offers, and what of it works:

- A `ValidatingAdmissionPolicy` refuses with 403 and a message, on every API server from 1.32 on (before,
  there are no credential ids). It sees writes, deletions and connects (exec, attach, port-forward, proxy):
  **not** get, list and watch. It sees the identity that is acted as, so that who may impersonate gets
  past it, and it is not asked about admission policies themselves, so that who may delete them does too.
  `admission_policies` writes these.
- `matchConditions` of an authorizer only choose which requests an authorizer is asked about: "false" means
  "not asked", never "denied". They deny in one form: an authorizer that must answer and cannot, under
  `failurePolicy: Deny`, asked about the listed names alone. That covers reads and impersonation as well; the
  holder is answered 500 and not 403, because to the API server it is a failure. `denying_configuration`
  writes it. Nothing is called: the second condition never evaluates, which alone is a denial; if it did,
  the address behind it answers nobody.

Either list is as old as its last rendering. Sources: k8s.io/apiserver pkg/apis/apiserver/v1/types.go
(WebhookConfiguration.matchConditions), pkg/endpoints/filters/authorization.go,
pkg/admission/plugin/webhook/predicates/rules/rules.go.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import yaml

from kubemint.errors import ConfigurationError
from kubemint.kubernetes.access_review import (
    CREDENTIAL_ID_KEY,
    SERIAL_GROUP_PREFIX,
    is_credential_id,
    serials_of,
)
from kubemint.kubernetes.authorizer_config import checked_path, kubeconfig_text

# One expression of 1,000 ids is 78,000 characters, and of groups, which are shorter, 59,000. cel-go's parser
# stops at 100,000 code points (parser/options.go); `in` costs one for each name, of the 1,000,000 that a call
# may cost (k8s.io/apiserver pkg/apis/cel/config.go), and is evaluated for one id and one group of a user, as
# other groups end at their first letters; and the object stays below the 256 KiB that `kubectl apply` may
# write into an annotation (k8s.io/apimachinery pkg/api/validation/objectmeta.go).
NAMES_PER_EXPRESSION: Final = 1_000
# Kubernetes has no number for this. Each policy is a cost on each write by a certificate, and a list that is
# this long is the sign to run the webhook, or to make a new CA.
DENY_LIST_MAX: Final = 10_000

_LABELS: Final = {"app.kubernetes.io/managed-by": "kubemint", "kubemint/deny-list": "true"}
_CLOSED_ADDRESS: Final = "https://127.0.0.1:1/"  # tcpmux, which no machine of today serves
_NEVER_EVALUATES: Final = "request.extra['kubemint/no-such-key'].size() >= 0"


def admission_policies(names: Sequence[str]) -> list[dict[str, Any]]:
    """Give a ValidatingAdmissionPolicy and its binding for each thousand names; none for no names.

    Give the names in the order of their revocation, and apply the objects in theirs: then one that moves up,
    because an expired one before it is gone, is refused all the while. What a shorter list leaves over has the
    same labels and goes on to refuse, until it is deleted by name.

    Raises:
        ConfigurationError: more than `DENY_LIST_MAX` names, or a text that is none.
    """
    return [
        manifest
        for place, part in enumerate(_parts(names))
        for manifest in (_policy(f"kubemint-revoked-{place}", part), _binding(f"kubemint-revoked-{place}"))
    ]


def denying_configuration(names: Sequence[str], *, kubeconfig_file: str) -> str:
    """Write an AuthorizationConfiguration that refuses the names, then asks Node and RBAC.

    `kubeconfig_file` must exist on the API server's machine, with the text of `unanswered_kubeconfig`.

    Raises:
        ConfigurationError: as `admission_policies`, or a path that is not absolute.
    """
    file = checked_path(kubeconfig_file, "kubeconfig file")
    webhooks = [
        {"type": "Webhook", "name": f"kubemint-revoked-{place}", "webhook": _unanswered_webhook(part, file)}
        for place, part in enumerate(_parts(names))
    ]
    document = {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "AuthorizationConfiguration",
        "authorizers": [*webhooks, {"type": "Node", "name": "node"}, {"type": "RBAC", "name": "rbac"}],
    }
    return yaml.safe_dump(document, sort_keys=False, width=2**20)


def unanswered_kubeconfig() -> str:
    """Write the kubeconfig that `denying_configuration` needs: an address on loopback where nobody listens."""
    return kubeconfig_text({"server": _CLOSED_ADDRESS}, {}, "nobody")


def listed_expression(user: str, names: Iterable[str]) -> str:
    """Write CEL that is true for a user, at this path, whom one of the names means; it cannot fail."""
    ids: list[str] = []
    groups: list[str] = []
    for name in names:
        (ids if is_credential_id(name) else groups).append(f"'{name}'")
    has_id = (
        f"has({user}.extra) && '{CREDENTIAL_ID_KEY}' in {user}.extra"
        f" && {user}.extra['{CREDENTIAL_ID_KEY}'].exists(id, id in [{','.join(ids)}])"
    )
    has_group = (
        f"has({user}.groups) && {user}.groups.exists(group,"
        f" group.startsWith('{SERIAL_GROUP_PREFIX}') && group in [{','.join(groups)}])"
    )
    return " || ".join(f"({text})" for text, listed in ((has_id, ids), (has_group, groups)) if listed)


def _parts(names: Sequence[str]) -> Iterator[Sequence[str]]:
    unique = tuple(dict.fromkeys(names))
    if len(unique) > DENY_LIST_MAX:
        raise ConfigurationError(
            "deny list",
            [
                f"{len(unique)} credential ids and groups with a serial number are more than the {DENY_LIST_MAX}"
                " that it may hold"
            ],
        )
    # They become source text.
    if wrong := [text for text in unique if not (is_credential_id(text) or serials_of((text,)))]:
        raise ConfigurationError(
            "deny list",
            [f"{text[:80]!r} is neither a credential id nor a group with a serial number" for text in wrong[:3]],
        )
    for start in range(0, len(unique), NAMES_PER_EXPRESSION):
        yield unique[start : start + NAMES_PER_EXPRESSION]


def _policy(name: str, part: Sequence[str]) -> dict[str, Any]:
    listed = listed_expression("request.userInfo", part)
    every = {"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*/*"], "scope": "*"}
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name, "labels": dict(_LABELS)},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"matchPolicy": "Equivalent", "resourceRules": [every]},
            "validations": [
                {
                    "expression": f"!({listed})",
                    "message": "The client certificate is revoked.",
                    "reason": "Forbidden",
                }
            ],
        },
    }


def _binding(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name, "labels": dict(_LABELS)},
        "spec": {"policyName": name, "validationActions": ["Deny"]},
    }


def _unanswered_webhook(part: Sequence[str], kubeconfig_file: str) -> dict[str, Any]:
    return {
        "timeout": "1s",
        "authorizedTTL": "1s",
        "unauthorizedTTL": "1s",
        "subjectAccessReviewVersion": "v1",
        "matchConditionSubjectAccessReviewVersion": "v1",
        "failurePolicy": "Deny",
        "connectionInfo": {"type": "KubeConfigFile", "kubeConfigFile": kubeconfig_file},
        "matchConditions": [
            {"expression": listed_expression("request", part)},
            # Written to the API server's log each time, which is why it is not the long one that fails.
            {"expression": _NEVER_EVALUATES},
        ],
    }
