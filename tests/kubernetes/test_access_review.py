"""A SubjectAccessReview is read as API servers send it, and no answer to it is a permission."""

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.peers import kubernetes_schemas
from kubemint.errors import InvalidDocument
from kubemint.kubernetes.access_review import (
    CREDENTIAL_ID_KEY,
    AccessReview,
    answer_denied,
    answer_no_opinion,
    read_access_review,
)

FRIENDLY = settings(max_examples=200, deadline=None, derandomize=True)
V1, V1BETA1 = "authorization.k8s.io/v1", "authorization.k8s.io/v1beta1"
ID = "X509SHA256=" + "0b" * 32
OTHER_ID = "X509SHA256=" + "1c" * 32

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(ID),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
NEARLY = st.fixed_dictionaries(
    {},
    optional={
        "apiVersion": st.sampled_from([V1, V1BETA1, "v1"]) | JSON,
        "kind": st.just("SubjectAccessReview") | JSON,
        "status": JSON,
        "spec": JSON
        | st.fixed_dictionaries(
            {},
            optional={
                "user": JSON,
                "groups": JSON,
                "group": JSON,
                "uid": JSON,
                "extra": JSON | st.dictionaries(st.just(CREDENTIAL_ID_KEY), JSON),
            },
        ),
    },
)


def golden(name: str) -> Any:
    return json.loads((Path(__file__).parent / "golden" / f"{name}.json").read_text())


def review(**spec: Any) -> dict[str, Any]:
    """Make a review of version 1 with this specification."""
    return {"apiVersion": V1, "kind": "SubjectAccessReview", "spec": spec}


def with_ids(values: Any, key: str = CREDENTIAL_ID_KEY) -> dict[str, Any]:
    return review(user="alice", extra={key: values})


def test_a_review_of_a_resource_is_read() -> None:
    """Who asks and with which certificate is there; selectors, which 1.32 adds, are let be."""
    assert read_access_review(golden("resource")) == AccessReview(
        api_version=V1,
        user="alice@example.com",
        groups=("developers", "team-shop", "system:authenticated"),
        uid="github:1234",
        credential_ids=("X509SHA256=0b5c1a4f6f1f2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4",),
        foreign_credential_ids=(),
        serials=(),
    )


def test_a_token_s_credential_id_is_foreign() -> None:
    """The id of a service account's token names no certificate, and is not taken for one."""
    read = read_access_review(golden("non_resource"))
    assert read.credential_ids == ()
    assert read.foreign_credential_ids == ("JTI=7d2a1f0e-5c6b-4a39-8a77-0f9e8d7c6b5a",)
    assert read.user == "system:serviceaccount:monitoring:prometheus"


def test_an_older_server_s_review_has_the_serial_in_a_group() -> None:
    """In v1beta1 the groups are under `group`, and one of them names the certificate."""
    read = read_access_review(golden("before_1_32"))
    assert read.api_version == V1BETA1
    assert read.groups == (
        "deployers",
        "kubemint:serial:5f0102030405060708090a0b0c0d0e0f10111213",
        "system:authenticated",
    )
    assert read.serials == ("5f0102030405060708090a0b0c0d0e0f10111213",)
    assert read.credential_ids == ()


@pytest.mark.parametrize("name", ["resource", "non_resource"])
def test_the_golden_reviews_are_reviews_to_kubernetes(name: str) -> None:
    """Each of them obeys the schema of the API server that it is said to come from."""
    document = golden(name)
    document["metadata"].pop("creationTimestamp", None)
    assert kubernetes_schemas().validate(document, "1.35", strict=True) == "1.35"


def test_unknown_fields_are_let_be() -> None:
    """What a server of next year adds does not turn a review into none."""
    document = golden("resource")
    document["spec"]["authorizationOptions"] = {"conditional": {"mode": "x"}}
    document["spec"]["resourceAttributes"]["new"] = [1]
    document["new"] = {"a": None}
    assert read_access_review(document) == read_access_review(golden("resource"))


def test_what_go_leaves_out_or_writes_as_null_is_empty() -> None:
    """Empty strings and lists are absent or null in Go's JSON."""
    empty = AccessReview(
        api_version=V1, user="", groups=(), uid="", credential_ids=(), foreign_credential_ids=(), serials=()
    )
    assert read_access_review(review()) == empty
    assert read_access_review(review(user=None, groups=None, uid=None, extra=None)) == empty
    assert read_access_review(review(extra={CREDENTIAL_ID_KEY: None})) == empty


def test_the_key_is_found_in_any_case() -> None:
    """Whoever writes the key in other letters is recognised all the same, and twice is both."""
    upper = with_ids([ID], "Authentication.Kubernetes.io/Credential-ID")
    assert read_access_review(upper).credential_ids == (ID,)
    upper["spec"]["extra"][CREDENTIAL_ID_KEY] = [OTHER_ID, ID]
    assert read_access_review(upper).credential_ids == (ID, OTHER_ID)


@pytest.mark.parametrize(
    "value",
    [
        "X509SHA256=" + "0B" * 32,
        "X509SHA256=" + "0b" * 31,
        "X509SHA256=" + "0b" * 33,
        "X509SHA256=" + "0b" * 32 + "\n",
        " " + ID,
        "x509sha256=" + "0b" * 32,
        "X509SHA256=" + "٠" * 64,
        "JTI=abc",
        "",
    ],
)
def test_what_only_looks_like_a_certificate_s_id_is_foreign(value: str) -> None:
    """An id is the prefix and 64 lower-case hexadecimal digits; all else is reported beside it."""
    read = read_access_review(with_ids([value, ID]))
    assert read.credential_ids == (ID,)
    assert read.foreign_credential_ids == (value,)


@pytest.mark.parametrize(
    "group",
    [
        "kubemint:serial:",
        "kubemint:serial:0",
        "kubemint:serial:0G",
        "kubemint:serial:0A",
        "kubemint:serial:00\n",
        "kubemint:serial:" + "00" * 21,
        "kubemint:serial",
        "KUBEMINT:SERIAL:00",
        "x:kubemint:serial:00",
    ],
)
def test_what_only_looks_like_a_serial_is_none(group: str) -> None:
    """A serial number is whole octets, at most twenty, in lower-case hexadecimal."""
    read = read_access_review(review(user="alice", groups=[group, "kubemint:serial:0a", "kubemint:serial:0a"]))
    assert read.serials == ("0a",)
    assert read.groups[0] == group


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (None, "the body"),
        ([], "the body"),
        ("SubjectAccessReview", "the body"),
        ({}, "not a SubjectAccessReview"),
        ({**review(), "kind": "LocalSubjectAccessReview"}, "not a SubjectAccessReview"),
        ({**review(), "kind": ["SubjectAccessReview"]}, "not a SubjectAccessReview"),
        ({**review(), "apiVersion": "authorization.k8s.io/v2"}, "not a SubjectAccessReview"),
        ({**review(), "apiVersion": ["authorization.k8s.io/v1"]}, "not a SubjectAccessReview"),
        ({"apiVersion": V1, "kind": "SubjectAccessReview"}, "spec: is missing"),
        ({**review(), "spec": None}, "spec: must be an object"),
        ({**review(), "spec": []}, "spec: must be an object"),
        (review(user=1), "spec.user"),
        (review(user=["alice"]), "spec.user"),
        (review(uid={}), "spec.uid"),
        (review(groups="developers"), "spec.groups"),
        (review(groups={"developers": True}), "spec.groups"),
        (review(groups=["developers", 1]), "spec.groups"),
        ({**review(group=[1]), "apiVersion": V1BETA1}, "spec.group"),
        (review(extra=[]), "spec.extra"),
        (review(extra={1: ["x"]}), "spec.extra"),
        (with_ids(ID), "spec.extra.authentication.kubernetes.io/credential-id"),
        (with_ids([[ID]]), "spec.extra.authentication.kubernetes.io/credential-id"),
        (with_ids([1]), "spec.extra.authentication.kubernetes.io/credential-id"),
    ],
)
def test_what_is_relied_on_is_read_strictly(document: Any, said: str) -> None:
    """A value of another type is refused with its path: the answer may not rest on a guess."""
    with pytest.raises(InvalidDocument, match=said):
        read_access_review(document)


@pytest.mark.parametrize("name", ["resource", "non_resource", "before_1_32"])
def test_a_denial_is_final(name: str) -> None:
    """A denied answer has the version it was asked in, and says why."""
    asked = golden(name)
    assert answer_denied(read_access_review(asked), "certificate 0a is revoked") == {
        "apiVersion": asked["apiVersion"],
        "kind": "SubjectAccessReview",
        "status": {"allowed": False, "denied": True, "reason": "certificate 0a is revoked"},
    }


@pytest.mark.parametrize("name", ["resource", "non_resource", "before_1_32"])
def test_no_opinion_leaves_the_decision_to_others(name: str) -> None:
    """Neither allowed nor denied is what API servers read as no opinion."""
    asked = golden(name)
    assert answer_no_opinion(read_access_review(asked)) == {
        "apiVersion": asked["apiVersion"],
        "kind": "SubjectAccessReview",
        "status": {"allowed": False, "denied": False},
    }


def test_both_answers_are_reviews_to_kubernetes() -> None:
    """The answers' status obeys the strict schema; the specification, which it also wants, nobody reads."""
    asked = read_access_review(golden("resource"))
    for answer in (answer_denied(asked, "revoked"), answer_no_opinion(asked)):
        assert kubernetes_schemas().validate({**answer, "spec": {}}, "1.35", strict=True) == "1.35"


@FRIENDLY
@given(document=NEARLY | JSON)
def test_garbage_raises_our_error_and_nothing_else(document: Any) -> None:
    """Whatever comes is a review or our error; and the answers to a review allow nothing."""
    with contextlib.suppress(InvalidDocument):
        read = read_access_review(document)
        for answer in (answer_denied(read, read.user), answer_no_opinion(read)):
            assert answer["status"]["allowed"] is False
