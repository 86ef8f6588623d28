"""The CertificateSigningRequest object, checked as Kubernetes checks it for the one signer that there is."""

import base64
import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from marshmallow import ValidationError

from csrs import good_csr, pem
from kubemint.fields import problem_lines
from kubemint.kubernetes.signing_request import is_signing_request, read_signing_request
from kubemint.x509.request import CsrEncoding, Submission

FRIENDLY = settings(max_examples=100, deadline=None, derandomize=True)
MISSING = object()


@pytest.fixture(scope="module")
def csr_pem() -> bytes:
    """Give a CSR in PEM."""
    return pem(good_csr())


@pytest.fixture
def document(csr_pem: bytes) -> dict[str, Any]:
    """Give an object as `kubectl create` sends it."""
    return {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"name": "jane", "labels": {"team": "a"}},
        "spec": {
            "request": base64.b64encode(csr_pem).decode(),
            "signerName": "kubernetes.io/kube-apiserver-client",
            "usages": ["client auth"],
        },
    }


def changed(document: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Copy the object with another value, or none, at a path."""
    copied = copy.deepcopy(document)
    *parents, last = path.split(".")
    place = copied
    for parent in parents:
        place = place[parent]
    place[last] = value
    if value is MISSING:
        del place[last]
    return copied


def mistakes(document: Any) -> dict[str, str]:
    with pytest.raises(ValidationError) as caught:
        read_signing_request(document, None)
    return dict(problem_lines(caught.value.messages))


def test_an_object_becomes_a_submission(document: dict[str, Any], csr_pem: bytes) -> None:
    """The CSR in it is handed on unread, with what was asked for beside it."""
    document["spec"]["expirationSeconds"] = 3600
    assert read_signing_request(document, "ci") == Submission(
        csr=csr_pem, encoding=CsrEncoding.PEM, expiration_seconds=3600, profile="ci"
    )


def test_what_was_not_asked_for_is_none(document: dict[str, Any]) -> None:
    """Without an expiration the policy's default counts, without a profile its own choice."""
    submission = read_signing_request(document, None)
    assert (submission.expiration_seconds, submission.profile) == (None, None)


@pytest.mark.parametrize(
    "usages",
    [
        ["client auth"],
        ["digital signature", "client auth"],
        ["client auth", "key encipherment"],
        ["digital signature", "key encipherment", "client auth"],
    ],
)
def test_the_usages_of_a_client_are_accepted(document: dict[str, Any], usages: list[str]) -> None:
    """`client auth` with at most what an API server's client needs, in any order."""
    assert read_signing_request(changed(document, "spec.usages", usages), None)


@pytest.mark.parametrize(
    "usages",
    [
        MISSING,
        None,
        [],
        "client auth",
        [["client auth"]],
        ["digital signature"],
        ["digital signature", "key encipherment"],
        ["client auth", "client auth"],
        ["client auth", "server auth"],
        ["client auth", "cert sign"],
        ["client auth", "any"],
        ["client auth", ""],
        ["client auth", None],
        ["client auth", 1],
        ["Client Auth"],
        ["clientAuth"],
        ["client auth "],
    ],
)
def test_other_usages_are_refused(document: dict[str, Any], usages: Any) -> None:
    """None, an unknown one, one twice, one that this signer does not give: a mistake at its place."""
    assert all(path.startswith("spec.usages") for path in mistakes(changed(document, "spec.usages", usages)))


@pytest.mark.parametrize("seconds", [600, 601, 86400, 2**31 - 1])
def test_an_expiration_of_ten_minutes_and_more_is_accepted(document: dict[str, Any], seconds: int) -> None:
    """From 600 to the largest int32, as Kubernetes has it; what is too long is for the policy to say."""
    assert read_signing_request(changed(document, "spec.expirationSeconds", seconds), None)


@pytest.mark.parametrize("seconds", [599, 0, -1, 2**31, 10**30, "600", 600.5, 1e9, True, None, [600], {}])
def test_another_expiration_is_refused(document: dict[str, Any], seconds: Any) -> None:
    """Too short, too large for an int32, or no number: a mistake at its place."""
    assert set(mistakes(changed(document, "spec.expirationSeconds", seconds))) == {"spec.expirationSeconds"}


@pytest.mark.parametrize(
    "signer",
    [
        MISSING,
        None,
        "",
        1,
        "kubernetes.io/kubelet-serving",
        "kubernetes.io/kube-apiserver-client-kubelet",
        "kubernetes.io/legacy-unknown",
        "example.com/signer",
        "Kubernetes.io/kube-apiserver-client",
        "kubernetes.io/kube-apiserver-client\n",
    ],
)
def test_another_signer_is_refused(document: dict[str, Any], signer: Any) -> None:
    """A request for somebody else's signer is not answered with ours."""
    assert set(mistakes(changed(document, "spec.signerName", signer))) == {"spec.signerName"}


def test_a_request_may_be_wrapped(document: dict[str, Any], csr_pem: bytes) -> None:
    """Base64 with line ends, as `base64` without `-w0` writes it, is the same request."""
    wrapped = base64.encodebytes(csr_pem).decode()
    assert read_signing_request(changed(document, "spec.request", wrapped), None).csr == csr_pem


@pytest.mark.parametrize(
    "request_field",
    [MISSING, None, 1, [], {}, b"LS0t", "LS0tL", "not base64!", "LS0t-_==", "ＬＳ０ｔ", "-----BEGIN"],
)
def test_a_request_that_is_not_base64_is_refused(document: dict[str, Any], request_field: Any) -> None:
    """Plain PEM, another alphabet and damage are a mistake at its place."""
    assert set(mistakes(changed(document, "spec.request", request_field))) == {"spec.request"}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("status", {"certificate": "LS0t"}),
        ("data", {}),
        ("spec.username", "system:admin"),
        ("spec.groups", ["system:masters"]),
        ("spec.uid", "0"),
        ("spec.extra", {}),
        ("spec.profile", "ci"),
        ("spec.expirationseconds", 600),
    ],
)
def test_an_unknown_field_is_refused(document: dict[str, Any], path: str, value: Any) -> None:
    """What the service does not know, identity above all, is never passed over in silence (P6)."""
    assert set(mistakes(changed(document, path, value))) == {path}


@pytest.mark.parametrize("metadata", [MISSING, {}, {"generateName": "x-", "annotations": {"a": "b"}}])
def test_metadata_is_the_requesters_own(document: dict[str, Any], metadata: Any) -> None:
    """Names, labels and annotations change nothing."""
    assert read_signing_request(changed(document, "metadata", metadata), None)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("apiVersion", "certificates.k8s.io/v1beta1"),
        ("apiVersion", "v1"),
        ("apiVersion", MISSING),
        ("kind", "CertificateSigningRequestList"),
        ("kind", MISSING),
        ("metadata", []),
        ("metadata", "jane"),
        ("spec", MISSING),
        ("spec", None),
        ("spec", []),
    ],
)
def test_another_object_is_refused(document: dict[str, Any], path: str, value: Any) -> None:
    """Another version, kind or shape is a mistake at its place."""
    assert set(mistakes(changed(document, path, value))) == {path}


def test_all_mistakes_are_named_at_once(document: dict[str, Any]) -> None:
    """Whoever mends the object learns everything that is wrong with it."""
    wrong = changed(document, "apiVersion", "v1") | {"extra": 1}
    wrong["spec"] = {"signerName": "x", "usages": [], "expirationSeconds": 1, "odd": True}
    assert set(mistakes(wrong)) == {
        "apiVersion",
        "extra",
        "spec.request",
        "spec.signerName",
        "spec.usages",
        "spec.expirationSeconds",
        "spec.odd",
    }


@pytest.mark.parametrize("value", [{"kind": "Pod"}, {"apiVersion": "v1"}, {"kind": None, "csr": "x"}])
def test_an_object_of_kubernetes_is_told_by_its_type(value: Any) -> None:
    """Whatever names an API version or a kind is held to Kubernetes' rules."""
    assert is_signing_request(value)


@pytest.mark.parametrize("value", [{}, {"csr": "x"}, [], ["kind"], "kind", None, 1, {"spec": {"kind": "x"}}])
def test_anything_else_is_not_taken_for_one(value: Any) -> None:
    """Our own JSON has neither, at its top."""
    assert not is_signing_request(value)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["apiVersion", "kind", "metadata", "spec", "request", "signerName", "usages", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)


@FRIENDLY
@given(value=ANYTHING, spec=ANYTHING)
def test_garbage_raises_a_list_of_mistakes_and_nothing_else(value: Any, spec: Any) -> None:
    """Any document ends in mistakes that have a path."""
    for wrong in (
        value,
        {"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "spec": spec},
    ):
        assert mistakes(wrong)
