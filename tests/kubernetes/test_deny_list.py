"""A deny list refuses whom it names and nobody else, in the sizes that an API server takes."""

import json
import re
from collections.abc import Sequence
from typing import Any

import pytest
import yaml

from deploy.peers import kubernetes_schemas
from kubemint.documents import parse_yaml
from kubemint.errors import ConfigurationError
from kubemint.kubernetes.deny_list import (
    DENY_LIST_MAX,
    NAMES_PER_EXPRESSION,
    admission_policies,
    denying_configuration,
    unanswered_kubeconfig,
)

CODE_POINTS_MAX = 100_000  # of an expression: cel-go, parser/options.go
ANNOTATIONS_MAX_BYTES = 256 * 1024  # of an object, where kubectl apply keeps a copy of it
FILE = "/etc/kubernetes/nobody.kubeconfig"
QUOTED_ID = re.compile(r"'(X509SHA256=[0-9a-f]{64})'")
QUOTED_GROUP = re.compile(r"'(kubemint:serial:[0-9a-f]+)'")


def ids(count: int) -> list[str]:
    """Make ids that differ."""
    return [f"X509SHA256={number:064x}" for number in range(count)]


def groups(count: int) -> list[str]:
    """Make groups with serial numbers that differ, as long as they may be."""
    return [f"kubemint:serial:{number + 2**159:x}" for number in range(count)]


def policies(listed: Sequence[str]) -> list[dict[str, Any]]:
    return [part for part in admission_policies(listed) if part["kind"] == "ValidatingAdmissionPolicy"]


def webhooks(listed: Sequence[str]) -> list[dict[str, Any]]:
    document = parse_yaml(denying_configuration(listed, kubeconfig_file=FILE).encode())
    return [part["webhook"] for part in document["authorizers"] if part["type"] == "Webhook"]


def test_a_policy_and_its_binding_are_these() -> None:
    """Every operation on every resource is judged, by the certificate that the request came with."""
    first, second = ids(2)
    labels = {"app.kubernetes.io/managed-by": "kubemint", "kubemint/deny-list": "true"}
    key = "authentication.kubernetes.io/credential-id"
    assert admission_policies([first, "kubemint:serial:0a", second, "kubemint:serial:0b"]) == [
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": "kubemint-revoked-0", "labels": labels},
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": {
                    "matchPolicy": "Equivalent",
                    "resourceRules": [
                        {
                            "apiGroups": ["*"],
                            "apiVersions": ["*"],
                            "operations": ["*"],
                            "resources": ["*/*"],
                            "scope": "*",
                        }
                    ],
                },
                "validations": [
                    {
                        "expression": f"!((has(request.userInfo.extra) && '{key}' in request.userInfo.extra"
                        f" && request.userInfo.extra['{key}'].exists(id, id in ['{first}','{second}']))"
                        " || (has(request.userInfo.groups) && request.userInfo.groups.exists(group,"
                        " group.startsWith('kubemint:serial:')"
                        " && group in ['kubemint:serial:0a','kubemint:serial:0b'])))",
                        "message": "The client certificate is revoked.",
                        "reason": "Forbidden",
                    }
                ],
            },
        },
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": "kubemint-revoked-0", "labels": labels},
            "spec": {"policyName": "kubemint-revoked-0", "validationActions": ["Deny"]},
        },
    ]


@pytest.mark.parametrize("version", ["1.30", "1.32", "1.35", "1.37"])
def test_policies_are_valid_in_each_kubernetes(version: str) -> None:
    """Each object obeys the strict schema of its kind, in which an unknown field is an error."""
    for part in admission_policies(ids(3) + groups(3)):
        assert kubernetes_schemas().validate(part, version, strict=True) == version


def test_the_denying_configuration_is_this() -> None:
    """The listed ids go to an authorizer that must answer and cannot; all others to Node and RBAC."""
    key = "authentication.kubernetes.io/credential-id"
    assert parse_yaml(denying_configuration([*ids(1), "kubemint:serial:0a"], kubeconfig_file=FILE).encode()) == {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "AuthorizationConfiguration",
        "authorizers": [
            {
                "type": "Webhook",
                "name": "kubemint-revoked-0",
                "webhook": {
                    "timeout": "1s",
                    "authorizedTTL": "1s",
                    "unauthorizedTTL": "1s",
                    "subjectAccessReviewVersion": "v1",
                    "matchConditionSubjectAccessReviewVersion": "v1",
                    "failurePolicy": "Deny",
                    "connectionInfo": {"type": "KubeConfigFile", "kubeConfigFile": FILE},
                    "matchConditions": [
                        {
                            "expression": f"(has(request.extra) && '{key}' in request.extra"
                            f" && request.extra['{key}'].exists(id, id in ['{ids(1)[0]}']))"
                            " || (has(request.groups) && request.groups.exists(group,"
                            " group.startsWith('kubemint:serial:') && group in ['kubemint:serial:0a']))"
                        },
                        {"expression": "request.extra['kubemint/no-such-key'].size() >= 0"},
                    ],
                },
            },
            {"type": "Node", "name": "node"},
            {"type": "RBAC", "name": "rbac"},
        ],
    }


def test_nobody_answers_where_the_denying_authorizer_points() -> None:
    """Its kubeconfig names an address of the machine itself, and carries no credential."""
    document = parse_yaml(unanswered_kubeconfig().encode())
    assert document["clusters"][0]["cluster"] == {"server": "https://127.0.0.1:1/"}
    assert document["users"] == [{"name": "nobody", "user": {}}]
    assert document["current-context"] == document["contexts"][0]["name"]


def test_no_ids_are_no_policies_and_no_webhook() -> None:
    """Without revocations nothing is asked of anybody."""
    assert admission_policies([]) == []
    assert [
        part["type"] for part in yaml.safe_load(denying_configuration([], kubeconfig_file=FILE))["authorizers"]
    ] == [
        "Node",
        "RBAC",
    ]


@pytest.mark.parametrize(
    ("count", "parts"), [(1, 1), (NAMES_PER_EXPRESSION, 1), (NAMES_PER_EXPRESSION + 1, 2), (DENY_LIST_MAX, 10)]
)
def test_long_lists_are_split_and_nothing_is_lost(count: int, parts: int) -> None:
    """Each id stands in one expression, in the order given, and no expression or object is too large."""
    found = policies(ids(count))
    expressions = [policy["spec"]["validations"][0]["expression"] for policy in found]
    assert [len(expressions), len(webhooks(ids(count)))] == [parts, parts]
    conditions = [webhook["matchConditions"][0]["expression"] for webhook in webhooks(ids(count))]
    for texts in (expressions, conditions):
        assert [listed for text in texts for listed in QUOTED_ID.findall(text)] == ids(count)
        assert max(map(len, texts)) < CODE_POINTS_MAX
    assert max(len(json.dumps(policy)) for policy in found) < ANNOTATIONS_MAX_BYTES
    assert len({part["metadata"]["name"] for part in found}) == parts


@pytest.mark.parametrize("count", [1, NAMES_PER_EXPRESSION // 2, NAMES_PER_EXPRESSION, DENY_LIST_MAX // 2])
def test_ids_and_groups_share_the_room(count: int) -> None:
    """Both kinds count, each stands in one expression, and none is too large."""
    mixed = [name for pair in zip(ids(count), groups(count), strict=True) for name in pair]
    expressions = [policy["spec"]["validations"][0]["expression"] for policy in policies(mixed)]
    conditions = [webhook["matchConditions"][0]["expression"] for webhook in webhooks(mixed)]
    for texts in (expressions, conditions):
        assert len(texts) == -(-2 * count // NAMES_PER_EXPRESSION)
        assert [listed for text in texts for listed in QUOTED_ID.findall(text)] == ids(count)
        assert [listed for text in texts for listed in QUOTED_GROUP.findall(text)] == groups(count)
        assert max(map(len, texts)) < CODE_POINTS_MAX


def test_one_kind_alone_asks_for_nothing_of_the_other() -> None:
    """Where there are no groups, none is looked at; nor is an id, where there are none."""
    (of_ids,), (of_groups,) = policies(ids(2)), policies(groups(2))
    assert "groups" not in of_ids["spec"]["validations"][0]["expression"]
    assert "extra" not in of_groups["spec"]["validations"][0]["expression"]


def test_an_id_that_is_given_twice_stands_there_once() -> None:
    """Repetition costs nothing."""
    (policy,) = policies(ids(2) + ids(2))
    assert QUOTED_ID.findall(policy["spec"]["validations"][0]["expression"]) == ids(2)


def test_a_list_that_is_too_long_is_refused() -> None:
    """Beyond the limit there is an error, and no list that leaves some out."""
    for render in (admission_policies, lambda listed: denying_configuration(listed, kubeconfig_file=FILE)):
        with pytest.raises(ConfigurationError, match=r"10001 credential ids and groups .* more than the 10000"):
            render(ids(DENY_LIST_MAX) + groups(1))


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "X509SHA256=",
        ids(1)[0] + "'] || true || id in ['",
        ids(11)[10].upper(),
        "JTI=" + "0" * 64,
        "0a",
        "developers",
        "kubemint:serial:",
        "kubemint:serial:a",
        "kubemint:serial:0A",
        "kubemint:serial:0a\n",
        "kubemint:serial:" + "0a" * 21,
        "kubemint:serial:0a'] || true || group in ['",
    ],
)
def test_what_is_no_name_never_becomes_source_text(wrong: str) -> None:
    """One that is none refuses the list, in whatever place it stands."""
    for render in (admission_policies, lambda listed: denying_configuration(listed, kubeconfig_file=FILE)):
        with pytest.raises(ConfigurationError, match="is neither a credential id nor a group"):
            render([*ids(NAMES_PER_EXPRESSION), wrong])


def test_a_path_that_is_not_absolute_is_refused() -> None:
    """kube-apiserver refuses it too, and then goes on with the list that it has."""
    with pytest.raises(ConfigurationError, match="absolute path"):
        denying_configuration(ids(1), kubeconfig_file="nobody.kubeconfig")
