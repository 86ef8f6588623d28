"""`kubemint kubernetes authorizer-config`: files that lead an API server to this service, and what they risk."""

import base64
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from client.revoking import Terminal
from commands.cli import Ran, failed_cleanly, kubemint
from csrs import good_csr
from kubemint.commands.served_names import served_names
from kubemint.commands.workspace import CaSource, Listen, create_workspace
from kubemint.x509.generate import generate_key, self_signed_ca

URL = "https://kubemint.example.com:8443"
FOLDER = "/etc/kubernetes/kubemint"


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """Give a folder as `kubemint init` makes it for a name of its own, found from `tmp_path`."""
    directory = tmp_path / ".kubemint"
    listen = Listen(port=9443, host="0.0.0.0", tls_names=("kubemint.example.com",))
    create_workspace(directory, CaSource(), listen, None, datetime.now(UTC))
    return directory


def run(place: Path, *options: str | Path) -> Ran:
    """Run the command in a folder."""
    return kubemint("kubernetes", "authorizer-config", *options, cwd=place)


def printed(ran: Ran) -> list[Any]:
    """Read the files that were printed."""
    assert ran.code == 0, ran.errors
    return list(yaml.safe_load_all(ran.output))


def cluster(kubeconfig: Mapping[str, Any]) -> Any:
    """Give how a kubeconfig names the service."""
    return kubeconfig["clusters"][0]["cluster"]


def change(file: Path, old: str, new: str) -> None:
    """Replace text that must be there."""
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_address_and_ca_are_the_services_own(made: Path) -> None:
    """The configuration says it all: the name of the log's origin, and the certificate that it serves with."""
    ran = run(made.parent)
    authorization, kubeconfig = printed(ran)
    assert authorization["kind"] == "AuthorizationConfiguration"
    assert [one["type"] for one in authorization["authorizers"]] == ["Webhook", "Node", "RBAC"]
    webhook = authorization["authorizers"][0]["webhook"]
    assert (webhook["failurePolicy"], webhook["unauthorizedTTL"]) == ("NoOpinion", "10s")
    assert webhook["connectionInfo"]["kubeConfigFile"] == f"{FOLDER}/webhook.kubeconfig"
    assert cluster(kubeconfig)["server"] == "https://kubemint.example.com:9443/kubernetes/authorize"
    trusted = base64.b64decode(cluster(kubeconfig)["certificate-authority-data"])
    assert trusted == (made / "tls.crt").read_bytes()
    assert kubeconfig["users"][0]["user"] == {"tokenFile": f"{FOLDER}/webhook.token"}
    for said in (f"To {FOLDER}/authorization.yaml", f"To {FOLDER}/webhook.kubeconfig"):
        assert said in ran.output
    for said in ("webhook.token", f"--authorization-config={FOLDER}/authorization.yaml", "--authorization-mode"):
        assert said in ran.errors
    assert "warning" not in ran.errors


def test_the_files_are_written_where_they_are_asked_for(made: Path) -> None:
    """Each is named with the place where it goes; what is there is replaced only where that is said."""
    arguments = ("--output-dir", "out/new", "--failure-policy", "Deny", "--unauthorized-ttl", "5s")
    ran = run(made.parent, *arguments)
    assert (ran.code, ran.errors) == (0, "")
    out = made.parent / "out" / "new"
    assert {file.name for file in out.iterdir()} == {"authorization.yaml", "webhook.kubeconfig"}
    webhook = yaml.safe_load((out / "authorization.yaml").read_text())["authorizers"][0]["webhook"]
    assert (webhook["failurePolicy"], webhook["unauthorizedTTL"]) == ("Deny", "5s")
    assert "Deny: every request with a certificate is refused" in (out / "authorization.yaml").read_text()
    assert f"Wrote out/new/webhook.kubeconfig: copy it to {FOLDER}/webhook.kubeconfig." in ran.output

    again = run(made.parent, "--output-dir", "out/new")
    assert failed_cleanly(again)
    assert "failurePolicy: Deny" in (out / "authorization.yaml").read_text()
    assert run(made.parent, "--output-dir", "out/new", "--overwrite").code == 0
    assert "failurePolicy: NoOpinion" in (out / "authorization.yaml").read_text()


def test_the_service_answers_where_the_file_says(serving: Terminal) -> None:
    """With this address, this CA and the token of `init` an API server gets its answer."""
    _, kubeconfig = printed(run(serving.place, "--config", "made/kubemint.yaml"))
    address, path = cluster(kubeconfig)["server"].rsplit(str(serving.service.port), 1)
    assert address in {"https://localhost:", "https://127.0.0.1:"}
    assert base64.b64decode(cluster(kubeconfig)["certificate-authority-data"]) == (
        serving.service.tls_ca_file.read_bytes()
    )
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": "jane", "groups": ["developers"]},
    }
    answer = serving.service.call("POST", path, json_body=review, token="webhook")
    assert answer.status == 200, answer.text
    assert answer.json()["status"] == {"allowed": False, "denied": False}


def test_an_address_of_this_machine_is_warned_of(serving: Terminal) -> None:
    """API servers elsewhere would ask themselves."""
    ran = run(serving.place, "--config", "made/kubemint.yaml")
    assert "warning: https://" in ran.errors
    assert "--url" in ran.errors


def test_without_a_configuration(tmp_path: Path) -> None:
    """An address and a CA file are enough, and a client certificate stands in for the token."""
    key = generate_key("ecdsa-p256")
    ca = self_signed_ca(key, "serving CA", datetime.now(UTC), timedelta(days=1))
    (tmp_path / "ca.crt").write_bytes(ca.public_bytes(Encoding.PEM))
    proof = ("--client-certificate", "/etc/kubernetes/pki/a.crt", "--client-key", "/etc/kubernetes/pki/a.key")
    ran = run(tmp_path, "--url", f"{URL}/", "--ca", "ca.crt", "--webhook-kubeconfig", "/etc/k/w.conf", *proof)
    authorization, kubeconfig = printed(ran)
    assert cluster(kubeconfig)["server"] == f"{URL}/kubernetes/authorize"
    assert kubeconfig["users"][0]["user"] == {
        "client-certificate": "/etc/kubernetes/pki/a.crt",
        "client-key": "/etc/kubernetes/pki/a.key",
    }
    connection = authorization["authorizers"][0]["webhook"]["connectionInfo"]
    assert connection["kubeConfigFile"] == "/etc/k/w.conf"
    assert "webhook.clients" in ran.errors
    assert "webhook.token" not in ran.errors
    assert "--authorization-config=/etc/k/authorization.yaml" in ran.errors


def test_older_api_servers(made: Path) -> None:
    """They get flags and the kubeconfig, and are told what the certificates need and what it risks."""
    ran = run(made.parent, "--legacy", "--webhook-token", "/etc/t", "--unauthorized-ttl", "1m")
    (kubeconfig,) = printed(ran)
    assert kubeconfig["users"][0]["user"] == {"tokenFile": "/etc/t"}
    for said in (
        "  --authorization-mode=Node,Webhook,RBAC\n",
        f"  --authorization-webhook-config-file={FOLDER}/webhook.kubeconfig\n",
        "  --authorization-webhook-cache-unauthorized-ttl=60s\n",
        "credentialGroup: true",
        "Risk: ",
    ):
        assert said in ran.errors
    assert "--authorization-config=" not in ran.errors


def test_a_chain_is_trusted_by_what_is_above(made: Path) -> None:
    """A certificate from a CA in its own file is trusted by that CA, so that it can be renewed."""
    key = generate_key("ecdsa-p256")
    ca = self_signed_ca(key, "serving CA", datetime.now(UTC), timedelta(days=1))
    own = served_by(ca, key)
    (made / "tls.crt").write_bytes(own + ca.public_bytes(Encoding.PEM))
    ran = run(made.parent)
    _, kubeconfig = printed(ran)
    trusted = base64.b64decode(cluster(kubeconfig)["certificate-authority-data"])
    assert trusted == ca.public_bytes(Encoding.PEM)
    assert "warning" not in ran.errors

    (made / "tls.crt").write_bytes(own)
    alone = run(made.parent)
    assert base64.b64decode(cluster(printed(alone)[1])["certificate-authority-data"]) == own
    assert "warning: the kubeconfig trusts the service's own certificate" in alone.errors


def served_by(ca: x509.Certificate, ca_key: Any) -> bytes:
    """Make a server's certificate that a CA has signed, PEM."""
    now, own = datetime.now(UTC), ec.generate_private_key(ec.SECP256R1())
    name = x509.load_der_x509_csr(good_csr(user="kubemint.example.com")).subject
    builder = x509.CertificateBuilder(ca.subject, name, own.public_key(), 7, now, now + timedelta(hours=1))
    names = x509.SubjectAlternativeName([x509.DNSName("kubemint.example.com")])
    builder = builder.add_extension(names, critical=False)
    return builder.sign(ca_key, hashes.SHA256()).public_bytes(Encoding.PEM)


@pytest.mark.parametrize(
    ("options", "comes_of_it"),
    [
        ((), "nothing will be refused"),
        (("--legacy",), "nothing will be refused"),
        (("--failure-policy", "Deny"), "every certificate will be refused"),
    ],
)
def test_a_name_that_the_certificate_does_not_have(made: Path, options: tuple[str, ...], comes_of_it: str) -> None:
    """An API server would not trust the service, and nothing else would say so; a CA of its own is not judged."""
    ran = run(made.parent, "--url", "https://mint.internal:8443", *options)
    assert ran.code == 0, ran.errors
    names = served_names(x509.load_pem_x509_certificate((made / "tls.crt").read_bytes()))
    assert "kubemint.example.com" in names
    assert (
        f"warning: {made / 'tls.crt'} is for {', '.join(names)} and not for mint.internal: the API server"
        f" will not trust it, and {comes_of_it}. Make one for that name"
        " (kubemint init --tls-name mint.internal), or give --ca.\n"
    ) in ran.errors
    assert "warning" not in run(made.parent, "--url", URL, *options).errors
    given = run(made.parent, "--url", "https://mint.internal:8443", "--ca", made / "tls.crt", *options)
    assert "warning" not in given.errors


@pytest.mark.parametrize("options", [(), ("--legacy",), ("--unauthorized-ttl", "30s")])
def test_how_to_see_that_it_works(made: Path, options: tuple[str, ...]) -> None:
    """The steps end with a trial: a certificate, a question, a revocation, and after the pause the same again."""
    ran = run(made.parent, *options)
    trial = ran.errors.partition("To see that it works")[2]
    before, after = (trial.index(text) for text in ("# yes or no", "Forbidden"))
    assert before < trial.index("kubemint revoke --user revocation-test --yes") < after
    assert f"# {31 if '30s' in options else 11} s later" in trial
    assert 'kubemint_webhook_answers_total{outcome="denied"}' in trial


@pytest.mark.parametrize(
    "options",
    [
        ("--legacy", "--failure-policy", "Deny"),
        ("--failure-policy", "Maybe"),
        ("--unauthorized-ttl", "soon"),
    ],
)
def test_wrong_use(made: Path, options: tuple[str, ...]) -> None:
    """What cannot be chosen ends with code 2 and writes nothing."""
    ran = run(made.parent, *options, "--output-dir", "out")
    assert ran.code == 2
    assert not (made.parent / "out").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--unauthorized-ttl", "10m"), "from 1s to 5m"),
        (("--webhook-kubeconfig", "webhook.kubeconfig"), "absolute path"),
        (("--webhook-kubeconfig", "/"), "absolute path"),
        (("--webhook-token", "token"), "absolute path"),
        (("--webhook-token", "/t", "--client-certificate", "/c", "--client-key", "/k"), "needs a token file, or"),
        (("--client-certificate", "/c"), "go together"),
        (("--client-key", "/k"), "go together"),
        (("--url", "http://kubemint.example.com"), "must be https://"),
        (("--url", "https://user:secret@kubemint.example.com"), "must be https://"),
        (("--url", "https://["), "must be https://"),
        (("--url", ""), "must be https://"),
        (("--ca", "policy.yaml"), "cannot be read"),
        (("--ca", ".kubemint/policy.yaml"), "no certificate in PEM"),
        (("--config", "gone.yaml"), "cannot be read"),
    ],
)
def test_what_cannot_be_written(made: Path, options: tuple[str, ...], said: str) -> None:
    """What an API server would refuse, or understand as another, is a sentence, and nothing is written."""
    ran = run(made.parent, *options, "--output-dir", "out")
    assert failed_cleanly(ran), ran.errors
    assert said in ran.errors
    assert not (made.parent / "out").exists()


def test_no_configuration_and_no_address(tmp_path: Path) -> None:
    """It is said how the service is named."""
    ran = run(tmp_path)
    assert failed_cleanly(ran)
    assert "--config" in ran.errors


def test_an_address_that_others_cannot_use(made: Path) -> None:
    """Where the log has a name of its own, an address to listen on counts, unless it is all of them."""
    config = made / "kubemint.yaml"
    change(config, '"kubemint.example.com:9443/v1/log"', '"example.com/the-log"')
    ran = run(made.parent)
    assert failed_cleanly(ran)
    assert "give --url" in ran.errors
    change(config, '"0.0.0.0:9443"', '"[2001:db8::7]:9443"')
    _, kubeconfig = printed(run(made.parent))
    assert cluster(kubeconfig)["server"] == "https://[2001:db8::7]:9443/kubernetes/authorize"


def test_a_service_behind_another(made: Path) -> None:
    """Where the service has no TLS of its own, what stands before it must be named."""
    config = made / "kubemint.yaml"
    change(config, "  tls: {certificateFile: tls.crt, keyFile: tls.key}\n", "")
    change(config, '"0.0.0.0:9443"', '"127.0.0.1:9443"')
    change(config, "server:\n", "server:\n  plainHttp: true\n")
    ran = run(made.parent, "--url", URL)
    assert failed_cleanly(ran), ran.errors
    assert "plain HTTP" in ran.errors
