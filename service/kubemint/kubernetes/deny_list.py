"""Revocations as a list that API servers check by themselves, for clusters that may not wait for a webhook.

What an API server offers, and what of it works:

- A `ValidatingAdmissionPolicy` refuses with 403 and a message, on every API server from 1.32 on (before,
  there are no credential ids). It sees writes, deletions and connects (exec, attach, port-forward, proxy):
  **not** get, list and watch. It sees the identity that is acted as, so that who may impersonate gets
  past it, and it is not asked about admission policies themselves, so that who may delete them does too.
  `admission_policies` writes these.
- `matchConditions` of an authorizer only choose which requests an authorizer is asked about: "false" means
  "not asked", never "denied". They deny in one form: an authorizer that must answer and cannot, under
  `failurePolicy: Deny`, asked about the listed ids alone. That covers reads and impersonation as well; the
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
from kubemint.kubernetes.access_review import CREDENTIAL_ID_KEY, is_credential_id
from kubemint.kubernetes.authorizer_config import checked_path, kubeconfig_text

# One expression of 1,000 ids is 78,000 characters. cel-go's parser stops at 100,000 code points
# (parser/options.go); `in` costs one for each id, of the 1,000,000 that a call may cost
# (k8s.io/apiserver pkg/apis/cel/config.go); and the object stays below the 256 KiB that `kubectl apply`
# may write into an annotation (k8s.io/apimachinery pkg/api/validation/objectmeta.go).
IDS_PER_EXPRESSION: Final = 1_000
# Kubernetes has no number for this. Each policy is a cost on each write by a certificate, and a list that is
# this long is the sign to run the webhook, or to make a new CA.
DENY_LIST_MAX: Final = 10_000

_LABELS: Final = {"app.kubernetes.io/managed-by": "kubemint", "kubemint/deny-list": "true"}
_CLOSED_ADDRESS: Final = "https://127.0.0.1:1/"  # tcpmux, which no machine of today serves
_NEVER_EVALUATES: Final = "request.extra['kubemint/no-such-key'].size() >= 0"


def admission_policies(credential_ids: Sequence[str]) -> list[dict[str, Any]]:
    """Give a ValidatingAdmissionPolicy and its binding for each thousand ids; none for no ids.

    Give the ids in the order of their revocation, and apply the objects in theirs: then an id that moves up,
    because an expired one before it is gone, is refused all the while. What a shorter list leaves over has the
    same labels and goes on to refuse, until it is deleted by name.

    Raises:
        ConfigurationError: more than `DENY_LIST_MAX` ids, or one that is none.
    """
    return [
        part
        for place, ids in enumerate(_parts(credential_ids))
        for part in (_policy(f"kubemint-revoked-{place}", ids), _binding(f"kubemint-revoked-{place}"))
    ]


def denying_configuration(credential_ids: Sequence[str], *, kubeconfig_file: str) -> str:
    """Write an AuthorizationConfiguration that refuses the ids, then asks Node and RBAC.

    `kubeconfig_file` must exist on the API server's machine, with the text of `unanswered_kubeconfig`.

    Raises:
        ConfigurationError: as `admission_policies`, or a path that is not absolute.
    """
    file = checked_path(kubeconfig_file, "kubeconfig file")
    webhooks = [
        {"type": "Webhook", "name": f"kubemint-revoked-{place}", "webhook": _unanswered_webhook(ids, file)}
        for place, ids in enumerate(_parts(credential_ids))
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


def listed_expression(extra: str, credential_ids: Iterable[str]) -> str:
    """Write CEL that is true for a user whose `extra`, at this path, holds one of the ids; it cannot fail."""
    quoted = ",".join(f"'{credential_id}'" for credential_id in credential_ids)
    return (
        f"has({extra}) && '{CREDENTIAL_ID_KEY}' in {extra}"
        f" && {extra}['{CREDENTIAL_ID_KEY}'].exists(id, id in [{quoted}])"
    )


def _parts(credential_ids: Sequence[str]) -> Iterator[Sequence[str]]:
    ids = tuple(dict.fromkeys(credential_ids))
    if len(ids) > DENY_LIST_MAX:
        raise ConfigurationError(
            "deny list", [f"{len(ids)} ids are more than the {DENY_LIST_MAX} that it may hold"]
        )
    # They become source text.
    if wrong := [text for text in ids if not is_credential_id(text)]:
        raise ConfigurationError("deny list", [f"{text[:80]!r} is no credential id" for text in wrong[:3]])
    for start in range(0, len(ids), IDS_PER_EXPRESSION):
        yield ids[start : start + IDS_PER_EXPRESSION]


def _policy(name: str, credential_ids: Sequence[str]) -> dict[str, Any]:
    listed = listed_expression("request.userInfo.extra", credential_ids)
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


def _unanswered_webhook(credential_ids: Sequence[str], kubeconfig_file: str) -> dict[str, Any]:
    return {
        "timeout": "1s",
        "authorizedTTL": "1s",
        "unauthorizedTTL": "1s",
        "subjectAccessReviewVersion": "v1",
        "matchConditionSubjectAccessReviewVersion": "v1",
        "failurePolicy": "Deny",
        "connectionInfo": {"type": "KubeConfigFile", "kubeConfigFile": kubeconfig_file},
        "matchConditions": [
            {"expression": listed_expression("request.extra", credential_ids)},
            # Written to the API server's log each time, which is why it is not the long one that fails.
            {"expression": _NEVER_EVALUATES},
        ],
    }
