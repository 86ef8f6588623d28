"""The guard: signed bytes that say anything but the decision go no further (promises P2 and P3)."""

import dataclasses
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from csrs import extended_key_usage, key_usage, private_key, spki
from kubemint.errors import SigningFailed
from kubemint.x509.certificate import SignedCertificate, format_serial, sign_certificate
from kubemint.x509.guard import guard
from kubemint.x509.issuer import Issuer
from kubemint.x509.profile import CertificateTerms
from x509 import der
from x509.authorities import issuer_of
from x509.crafting import SERIAL_NUMBER, crafted, profile
from x509.terms import terms_for

SECOND = timedelta(seconds=1)
SKI, AKI = "2.5.29.14", "2.5.29.35"


@pytest.fixture(scope="module")
def ca(now: datetime) -> Issuer:
    """Give the issuer."""
    return issuer_of("ecdsa-p256", now)


@pytest.fixture(scope="module")
def decided(now: datetime) -> CertificateTerms:
    """Give the decision."""
    return terms_for("ecdsa-p256", now)


def refused(certificate: SignedCertificate, decided: CertificateTerms, ca: Issuer) -> str:
    with pytest.raises(SigningFailed) as caught:
        guard(certificate, decided, ca)
    return caught.value.message


def other_key(key_type: str) -> dict[str, Any]:
    key = private_key(key_type, "eve")
    return {"public_key": key.public_key(), "spki_der": spki(key)}


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        pytest.param(lambda _: {"user": "eve"}, "user", id="another user"),
        pytest.param(lambda _: {"user": "JANE@acme.example"}, "user", id="the user in another case"),
        pytest.param(lambda _: {"groups": ()}, "groups", id="no groups"),
        pytest.param(lambda _: {"groups": ("developers",)}, "groups", id="a group less"),
        pytest.param(lambda _: {"groups": ("developers", "team-a", "admins")}, "groups", id="a group more"),
        pytest.param(lambda _: {"groups": ("developers", "team-a", "team-a")}, "groups", id="a group twice"),
        pytest.param(lambda _: {"groups": ("team-a", "developers")}, "groups", id="groups in another order"),
        pytest.param(lambda _: {"groups": ("developers", "team-b")}, "groups", id="another group"),
        pytest.param(lambda _: other_key("ecdsa-p256"), f"public key, extension {SKI}", id="another key"),
        pytest.param(lambda _: other_key("ed25519"), f"public key, extension {SKI}", id="another kind of key"),
        pytest.param(lambda t: {"not_before": t.not_before - SECOND}, "validity", id="valid sooner"),
        pytest.param(lambda t: {"not_before": t.not_before + SECOND}, "validity", id="valid later"),
        pytest.param(lambda t: {"not_after": t.not_after + SECOND}, "validity", id="valid longer"),
        pytest.param(lambda t: {"not_after": t.not_after - SECOND}, "validity", id="valid shorter"),
    ],
)
def test_each_field_must_be_that_of_the_decision(
    decided: CertificateTerms, ca: Issuer, change: Callable[[CertificateTerms], dict[str, Any]], fault: str
) -> None:
    """A certificate of other terms is refused by the field that differs; under its own terms it passes."""
    others = dataclasses.replace(decided, **change(decided))
    certificate = sign_certificate(others, ca, SERIAL_NUMBER)
    guard(certificate, others, ca)
    assert refused(certificate, decided, ca).endswith(f": {fault}")


def test_all_differences_are_named(decided: CertificateTerms, ca: Issuer) -> None:
    """The log says everything that differs, not the first thing alone."""
    others = dataclasses.replace(decided, user="eve", groups=(), not_after=decided.not_after + SECOND)
    message = refused(sign_certificate(others, ca, SERIAL_NUMBER), decided, ca)
    assert message.endswith(": user, groups, validity")


@pytest.mark.parametrize("groups", [("system:masters",), ("developers", "system:masters")])
def test_system_masters_never_passes(decided: CertificateTerms, ca: Issuer, groups: tuple[str, ...]) -> None:
    """Not even a decision that says so lets it out (P2)."""
    forbidden = dataclasses.replace(decided, groups=groups)
    assert "forbidden group" in refused(sign_certificate(forbidden, ca, SERIAL_NUMBER), forbidden, ca)


def test_the_issuers_own_key_never_passes(decided: CertificateTerms, ca: Issuer) -> None:
    """A certificate for the CA's key would let its holder be anybody; no decision can make one."""
    own = dataclasses.replace(decided, public_key=ca.key.public_key(), spki_der=spki(ca.key))
    assert "issuer's own key" in refused(sign_certificate(own, ca, SERIAL_NUMBER), own, ca)


def test_the_serial_number_must_be_the_recorded_one(decided: CertificateTerms, ca: Issuer) -> None:
    """What the ledger will call the certificate is what it calls itself."""
    certificate = sign_certificate(decided, ca, SERIAL_NUMBER)
    renamed = dataclasses.replace(certificate, serial_number=format_serial(SERIAL_NUMBER + 1))
    assert refused(renamed, decided, ca).endswith(": serial number")


def test_another_signer_is_refused(decided: CertificateTerms, ca: Issuer, now: datetime) -> None:
    """A CA of the same name with another key did not sign for us."""
    impostor = dataclasses.replace(ca, key=private_key("ecdsa-p256", "impostor"))
    assert refused(sign_certificate(decided, impostor, SERIAL_NUMBER), decided, ca)


def test_another_issuer_name_is_refused(decided: CertificateTerms, ca: Issuer, now: datetime) -> None:
    """Our key under another CA's name did not sign for us either."""
    renamed = issuer_of("ecdsa-p256", now, common_name="kubernetes-2")
    assert refused(sign_certificate(decided, renamed, SERIAL_NUMBER), decided, ca)


@pytest.mark.parametrize("key_type", ["rsa-2048", "ed25519"])
def test_another_type_of_signer_is_refused(
    decided: CertificateTerms, ca: Issuer, now: datetime, key_type: str
) -> None:
    """A signature of another algorithm than the issuer's is no signature of the issuer."""
    assert refused(sign_certificate(decided, issuer_of(key_type, now), SERIAL_NUMBER), decided, ca)


@pytest.mark.parametrize("left_out", range(5))
def test_each_extension_must_be_there(decided: CertificateTerms, ca: Issuer, left_out: int) -> None:
    """With all five extensions a certificate passes; without any one of them it does not."""
    extensions = profile(decided)
    guard(crafted(decided, ca, extensions=extensions), decided, ca)
    extensions.pop(left_out)
    assert "extension" in refused(crafted(decided, ca, extensions=extensions), decided, ca)


@pytest.mark.parametrize("changed", range(5))
def test_each_extension_must_be_as_critical_as_the_profile_says(
    decided: CertificateTerms, ca: Issuer, changed: int
) -> None:
    """Criticality decides what readers do who do not know an extension: it is part of the profile."""
    extensions = profile(decided)
    value, critical = extensions[changed]
    extensions[changed] = (value, not critical)
    assert "extension" in refused(crafted(decided, ca, extensions=extensions), decided, ca)


@pytest.mark.parametrize(
    ("replaced", "value"),
    [
        pytest.param(0, x509.BasicConstraints(ca=True, path_length=None), id="CA:TRUE"),
        pytest.param(0, x509.BasicConstraints(ca=True, path_length=0), id="CA:TRUE, pathlen 0"),
        pytest.param(1, key_usage("key_cert_sign"), id="keyCertSign"),
        pytest.param(1, key_usage("digital_signature", "key_cert_sign"), id="digitalSignature and keyCertSign"),
        pytest.param(1, key_usage("digital_signature", "key_encipherment"), id="keyEncipherment of an EC key"),
        pytest.param(1, key_usage("key_agreement"), id="keyAgreement"),
        pytest.param(2, extended_key_usage("server_auth"), id="serverAuth"),
        pytest.param(2, extended_key_usage("client_auth", "server_auth"), id="both"),
        pytest.param(2, extended_key_usage("any_extended_key_usage"), id="any"),
    ],
)
def test_an_extension_must_say_what_the_profile_says(
    decided: CertificateTerms, ca: Issuer, replaced: int, value: x509.ExtensionType
) -> None:
    """A certificate that could sign others, or serve, or is for another use of its key, is refused."""
    extensions = profile(decided)
    extensions[replaced] = (value, extensions[replaced][1])
    assert "extension" in refused(crafted(decided, ca, extensions=extensions), decided, ca)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(x509.SubjectAlternativeName([x509.DNSName("kubernetes.default.svc")]), id="SAN"),
        pytest.param(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), der.NULL), id="unknown"),
        pytest.param(extended_key_usage("client_auth"), id="one again"),
    ],
)
def test_one_more_extension_is_refused(decided: CertificateTerms, ca: Issuer, value: x509.ExtensionType) -> None:
    """Nothing is in a certificate that nobody decided."""
    extensions = [*profile(decided), (value, False)]
    assert "extension" in refused(crafted(decided, ca, extensions=extensions), decided, ca)


@pytest.mark.parametrize(
    ("label", "value"),
    [
        pytest.param("CN", "eve", id="two CNs"),
        pytest.param("OU", "ops", id="OU"),
        pytest.param("UID", "1000", id="user id"),
        pytest.param("kubernetesUID", "1000", id="Kubernetes' user UID"),
    ],
)
@pytest.mark.parametrize("place", [0, 3])
def test_one_more_name_is_refused(
    decided: CertificateTerms, ca: Issuer, label: str, value: str, place: int
) -> None:
    """The subject is the decision's user and groups and nothing beside them, wherever it stands."""
    names = [*(("O", group) for group in decided.groups), ("CN", decided.user)]
    guard(crafted(decided, ca, subject=der.name(*names)), decided, ca)
    names.insert(place, (label, value))
    assert "subject" in refused(crafted(decided, ca, subject=der.name(*names)), decided, ca)


@pytest.mark.parametrize(
    "names",
    [
        pytest.param([("CN", ""), ("O", "developers"), ("CN", "jane")], id="empty CN before it"),
        pytest.param([("CN", "jane"), ("O", "developers"), ("CN", "jane")], id="the CN twice"),
    ],
)
def test_a_name_that_go_passes_over_is_refused(now: datetime, ca: Issuer, names: list[tuple[str, str]]) -> None:
    """Go reads the last CN: one before it changes no user there, and some other reader's."""
    decided = terms_for("ecdsa-p256", now, user="jane", groups=("developers",))
    assert refused(crafted(decided, ca, subject=der.name(*names)), decided, ca).endswith(": subject")


@pytest.mark.parametrize(
    "rdns",
    [
        pytest.param([[("O", "developers"), ("CN", "jane")]], id="O+CN"),
        pytest.param([[("O", "developers")], [], [("CN", "jane")]], id="an RDN of nothing"),
    ],
)
def test_an_rdn_of_other_than_one_value_is_refused(
    now: datetime, ca: Issuer, rdns: list[list[tuple[str, str]]]
) -> None:
    """Names are signed in an RDN each: several in one are read in no order that was decided."""
    decided = terms_for("ecdsa-p256", now, user="jane", groups=("developers",))
    subject = der.tlv(der.SEQUENCE, *(der.rdn(*(der.attribute(*each) for each in rdn)) for rdn in rdns))
    assert refused(crafted(decided, ca, subject=subject), decided, ca)


@pytest.mark.parametrize(
    ("place", "value", "oid"),
    [
        pytest.param(3, x509.SubjectKeyIdentifier(bytes(20)), SKI, id="another SKI"),
        pytest.param(3, x509.SubjectKeyIdentifier(b""), SKI, id="empty SKI"),
        pytest.param(4, x509.AuthorityKeyIdentifier(bytes(20), None, None), AKI, id="another AKI"),
        pytest.param(4, x509.AuthorityKeyIdentifier(None, None, None), AKI, id="empty AKI"),
        pytest.param(
            4,
            x509.AuthorityKeyIdentifier(b"kubernetes-ca-ski", [x509.DNSName("elsewhere")], 1),
            AKI,
            id="AKI with more in it",
        ),
    ],
)
def test_the_key_identifiers_are_those_of_subject_and_issuer(
    decided: CertificateTerms, ca: Issuer, place: int, value: x509.ExtensionType, oid: str
) -> None:
    """Who builds a chain goes by these two: they name the key that was decided and the issuer's."""
    extensions = profile(decided)
    extensions[place] = (value, False)
    assert refused(crafted(decided, ca, extensions=extensions), decided, ca).endswith(f": extension {oid}")


@pytest.mark.parametrize(
    "version",
    [
        pytest.param(b"", id="1, left out"),
        pytest.param(der.tlv(0xA0, der.integer(0)), id="1, written"),
        pytest.param(der.tlv(0xA0, der.integer(1)), id="2"),
        pytest.param(der.tlv(0xA0, der.integer(3)), id="4"),
    ],
)
def test_another_version_is_refused(decided: CertificateTerms, ca: Issuer, version: bytes) -> None:
    """Only version 3 has extensions (RFC 5280 4.1.2.1)."""
    assert refused(crafted(decided, ca, version=version), decided, ca)


@pytest.mark.parametrize("where", ["inner_algorithm", "outer_algorithm", "inner_algorithm outer_algorithm"])
@pytest.mark.parametrize(
    "algorithm",
    [
        pytest.param(der.signature_algorithm(private_key("ecdsa-p256"), hashes.SHA512()), id="another hash"),
        pytest.param(der.signature_algorithm(private_key("ed25519")), id="another kind"),
        pytest.param(der.tlv(der.SEQUENCE, der.oid("1.2.840.10045.4.3.2"), der.NULL), id="with parameters"),
    ],
)
def test_the_signature_is_named_as_what_it_is(
    decided: CertificateTerms, ca: Issuer, where: str, algorithm: bytes
) -> None:
    """A signature that holds, but goes by another name in either place, is refused (RFC 5280 4.1.1.2)."""
    assert refused(crafted(decided, ca, **dict.fromkeys(where.split(), algorithm)), decided, ca)


@pytest.mark.parametrize("tag", [der.PRINTABLE, der.TELETEX, der.IA5, der.UNIVERSAL, der.BMP])
@pytest.mark.parametrize("label", ["O", "CN"])
def test_another_string_type_is_refused(now: datetime, ca: Issuer, label: str, tag: int) -> None:
    """Names are UTF8Strings: a type that some reader decodes to nothing is not what was decided."""
    decided = terms_for("ecdsa-p256", now, user="jane", groups=("developers",))
    names = [("O", "developers"), ("CN", "jane")]
    subject = der.name(*((*each, tag if each[0] == label else der.UTF8) for each in names))
    assert "subject" in refused(crafted(decided, ca, subject=subject), decided, ca)


@pytest.mark.parametrize(
    "alter",
    [
        pytest.param(der.flip_last_bit, id="a bit of the signature"),
        pytest.param(lambda octets: der.tamper(octets, b"team-a", b"team-b"), id="a bit of a group"),
        pytest.param(lambda octets: octets[:-1], id="cut off"),
        pytest.param(lambda octets: octets + b"\x00", id="trailing octet"),
        pytest.param(der.indefinite_length, id="BER"),
        pytest.param(lambda _: b"", id="empty"),
    ],
)
def test_altered_bytes_are_refused(decided: CertificateTerms, ca: Issuer, alter: Callable[[bytes], bytes]) -> None:
    """Bytes that were changed after the signature are no certificate of ours."""
    certificate = sign_certificate(decided, ca, SERIAL_NUMBER)
    assert refused(dataclasses.replace(certificate, der=alter(certificate.der)), decided, ca)
