"""What an administrator is given for kube-apiserver parses, says what it risks, and cannot mean another thing."""

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from kubemint.documents import parse_yaml
from kubemint.errors import ConfigurationError
from kubemint.kubernetes.authorizer_config import (
    MATCH_CONDITIONS,
    FailurePolicy,
    authorization_configuration,
    legacy_flags,
    webhook_kubeconfig,
)

FILE = "/etc/kubernetes/kubemint.kubeconfig"
URL = "https://kubemint.example.com:8443/kubernetes/authorize"


def configuration(**changes: Any) -> str:
    values = {"kubeconfig_file": FILE, "failure_policy": FailurePolicy.NO_OPINION} | changes
    return authorization_configuration(**values)


@pytest.fixture(scope="module")
def key() -> ec.EllipticCurvePrivateKey:
    """Give a key that is thrown away."""
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture(scope="module")
def ca_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Give a CA's certificate in PEM."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "serving CA")])
    start = datetime(2026, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, start, start + timedelta(days=1))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def kubeconfig(ca_pem: bytes, **changes: Any) -> str:
    values = {"server_url": URL, "ca_pem": ca_pem, "token_file": "/etc/kubernetes/kubemint.token"} | changes
    return webhook_kubeconfig(**values)


@pytest.mark.parametrize("failure_policy", list(FailurePolicy))
def test_the_configuration_is_this(failure_policy: FailurePolicy) -> None:
    """Every field that kube-apiserver requires is there, none is there that 1.32 does not know."""
    assert parse_yaml(configuration(failure_policy=failure_policy).encode()) == {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "AuthorizationConfiguration",
        "authorizers": [
            {
                "type": "Webhook",
                "name": "kubemint",
                "webhook": {
                    "timeout": "3s",
                    "authorizedTTL": "10s",
                    "unauthorizedTTL": "10s",
                    "subjectAccessReviewVersion": "v1",
                    "matchConditionSubjectAccessReviewVersion": "v1",
                    "failurePolicy": str(failure_policy),
                    "connectionInfo": {"type": "KubeConfigFile", "kubeConfigFile": FILE},
                    "matchConditions": [{"expression": condition} for condition in MATCH_CONDITIONS],
                },
            },
            {"type": "Node", "name": "node"},
            {"type": "RBAC", "name": "rbac"},
        ],
    }


def test_the_conditions_choose_certificates_and_spare_nodes_and_controllers() -> None:
    """These three are evaluated by every API server; a change to one is a change of who can be revoked."""
    assert MATCH_CONDITIONS == (
        "!(has(request.groups) && 'system:nodes' in request.groups)",
        "!(has(request.user) && request.user in ['system:kube-controller-manager', 'system:kube-scheduler'])",
        "(has(request.extra) && 'authentication.kubernetes.io/credential-id' in request.extra && "
        "request.extra['authentication.kubernetes.io/credential-id'].exists(id, id.startsWith('X509SHA256='))) || "
        "(has(request.groups) && request.groups.exists(group, group.startsWith('kubemint:serial:')))",
    )


@pytest.mark.parametrize(
    ("failure_policy", "risk"),
    [
        (
            FailurePolicy.NO_OPINION,
            "NoOpinion: RBAC decides, so the cluster goes on, and revoked certificates with it.",
        ),
        (FailurePolicy.DENY, "Deny: every request with a certificate is refused,"),
    ],
)
def test_the_configuration_says_what_its_choice_risks(failure_policy: FailurePolicy, risk: str) -> None:
    """The risk of the failure policy that was chosen stands above it, and each other choice has its comment."""
    lines = configuration(failure_policy=failure_policy).splitlines()
    comment = " ".join(line.strip().removeprefix("# ") for line in lines if line.strip().startswith("#"))
    assert risk in comment
    assert "system:masters" in comment
    assert all(len(line) <= 115 for line in lines if "expression" not in line)
    for choice in (
        "timeout",
        "authorizedTTL",
        "unauthorizedTTL",
        "failurePolicy",
        "matchConditions",
        "- expression",
    ):
        places = [place for place, line in enumerate(lines) if line.strip().startswith(f"{choice}:")]
        assert places, choice
        assert all(lines[place - 1].strip().startswith("#") for place in places), choice


@pytest.mark.parametrize(("seconds", "written"), [(1, "1s"), (30, "30s"), (90, "90s"), (300, "300s")])
def test_the_time_that_a_revoked_certificate_goes_on_is_chosen(seconds: int, written: str) -> None:
    """The cache of refusals lives as long as was asked, in the configuration and in the flags."""
    ttl = timedelta(seconds=seconds)
    webhook = parse_yaml(configuration(unauthorized_ttl=ttl).encode())["authorizers"][0]["webhook"]
    assert webhook["unauthorizedTTL"] == written
    flags = legacy_flags(kubeconfig_file=FILE, unauthorized_ttl=ttl)
    assert f"--authorization-webhook-cache-unauthorized-ttl={written}" in flags


@pytest.mark.parametrize(
    "ttl", [timedelta(0), timedelta(seconds=-1), timedelta(seconds=1.5), timedelta(seconds=301), timedelta.max]
)
def test_a_time_that_would_mean_another_is_refused(ttl: timedelta) -> None:
    """Zero means 30 s to kube-apiserver, a fraction is cut, and more than five minutes is no revocation."""
    with pytest.raises(ConfigurationError, match="unauthorized TTL"):
        configuration(unauthorized_ttl=ttl)
    with pytest.raises(ConfigurationError, match="unauthorized TTL"):
        legacy_flags(kubeconfig_file=FILE, unauthorized_ttl=ttl)


@pytest.mark.parametrize(
    "file", ["", "/", "kubemint.kubeconfig", "./a", "/a\nb", "/a\tb", "/ä", "/a ", "/ a", "/a\x00"]
)
def test_a_path_that_is_not_plain_and_absolute_is_refused(file: str) -> None:
    """kube-apiserver reads it from wherever it was started; and a line break would write configuration."""
    with pytest.raises(ConfigurationError, match="kubeconfig file"):
        configuration(kubeconfig_file=file)
    with pytest.raises(ConfigurationError, match="kubeconfig file"):
        legacy_flags(kubeconfig_file=file)


@pytest.mark.parametrize("file", ["/a b/c", '/a"b', "/a'b", "/a\\b", "/a: b", "/a #b", "/{a}"])
def test_a_path_is_one_value_whatever_its_characters(file: str) -> None:
    """Quotes, colons and hashes are characters of the path, and no YAML."""
    webhook = parse_yaml(configuration(kubeconfig_file=file).encode())["authorizers"][0]["webhook"]
    assert webhook["connectionInfo"]["kubeConfigFile"] == file


def test_the_flags_of_older_servers_are_these() -> None:
    """Node, which knows kubelets alone, comes first; RBAC, which would allow, comes after the webhook."""
    assert legacy_flags(kubeconfig_file=FILE) == (
        "--authorization-mode=Node,Webhook,RBAC",
        f"--authorization-webhook-config-file={FILE}",
        "--authorization-webhook-version=v1",
        "--authorization-webhook-cache-unauthorized-ttl=10s",
    )


def test_a_kubeconfig_with_a_token_is_this(ca_pem: bytes) -> None:
    """The address, the CA and the file of the token are there, under the names of kubeconfig v1."""
    assert parse_yaml(kubeconfig(ca_pem).encode()) == {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": "kubemint",
                "cluster": {"server": URL, "certificate-authority-data": base64.b64encode(ca_pem).decode()},
            }
        ],
        "users": [{"name": "kube-apiserver", "user": {"tokenFile": "/etc/kubernetes/kubemint.token"}}],
        "contexts": [{"name": "kubemint", "context": {"cluster": "kubemint", "user": "kube-apiserver"}}],
        "current-context": "kubemint",
    }


def test_a_kubeconfig_with_a_client_certificate_names_its_files(ca_pem: bytes) -> None:
    """The API server's own key stays in its file: the kubeconfig has the path of it."""
    text = kubeconfig(ca_pem, token_file=None, client_certificate_file="/pki/a.crt", client_key_file="/pki/a.key")
    assert yaml.safe_load(text)["users"][0]["user"] == {
        "client-certificate": "/pki/a.crt",
        "client-key": "/pki/a.key",
    }


def test_only_certificates_of_the_ca_file_are_written(ca_pem: bytes, key: ec.EllipticCurvePrivateKey) -> None:
    """A key that lies in the same file does not travel; two certificates, as in a rotation, both do."""
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    text = kubeconfig(ca_pem + secret + b"a comment\n" + ca_pem)
    written = base64.b64decode(yaml.safe_load(text)["clusters"][0]["cluster"]["certificate-authority-data"])
    assert written == ca_pem * 2


@pytest.mark.parametrize("pem", [b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", b"\xff"])
def test_a_ca_file_without_a_certificate_is_refused(pem: bytes) -> None:
    """Without a CA the API server would trust whatever the machine trusts."""
    with pytest.raises(ConfigurationError, match="certificate authority"):
        kubeconfig(pem)


@pytest.mark.parametrize(
    "url",
    [
        "http://kubemint.example.com/kubernetes/authorize",
        "https://",
        "https:///kubernetes/authorize",
        "https://user@kubemint.example.com/",
        "https://kubemint.example.com/?a=b",
        "https://kubemint.example.com/#a",
        "https://kubemint.example.com:0/",
        "https://kubemint.example.com:99999/",
        "https://kubemint.example.com:a/",
        "https://[::1/",
        "https://kubemint.example.com/a b",
        "https://kubemint.example.com/\n",
        "https://kubemint.examplé.com/",
        "kubemint.example.com",
        "",
    ],
)
def test_an_address_that_is_not_plain_https_is_refused(ca_pem: bytes, url: str) -> None:
    """The API server sends who does what: never in clear, never to an address that two read differently."""
    with pytest.raises(ConfigurationError, match="server: must be https"):
        kubeconfig(ca_pem, server_url=url)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"token_file": None}, "needs a token file, or"),
        ({"token_file": ""}, "needs a token file, or"),
        ({"client_certificate_file": "/a.crt", "client_key_file": "/a.key"}, "needs a token file, or"),
        ({"client_certificate_file": "/a.crt"}, "go together"),
        ({"token_file": None, "client_key_file": "/a.key"}, "go together"),
        ({"token_file": "token"}, "tokenFile: must be an absolute path"),
        (
            {"token_file": None, "client_certificate_file": "a", "client_key_file": "/a"},
            "client-certificate: must be",
        ),
        ({"token_file": None, "client_certificate_file": "/a", "client_key_file": "a"}, "client-key: must be"),
    ],
)
def test_the_api_server_proves_itself_in_one_way(ca_pem: bytes, changes: dict[str, Any], said: str) -> None:
    """No proof, two proofs, half of one or a path from nowhere is refused by name."""
    with pytest.raises(ConfigurationError, match=said):
        kubeconfig(ca_pem, **changes)
