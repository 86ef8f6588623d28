"""From a file to a `Config`: what loads, and what does not."""

from contextlib import chdir
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from config.files import CONFIGURATION, DELETED, POLICY, certificate_pem, changed, write
from kubemint import config
from kubemint.authentication.kubernetes import Review
from kubemint.authentication.oidc import OidcIssuer
from kubemint.errors import ConfigurationError
from kubemint.policy.claims import ClaimRule, Pattern
from kubemint.wiring import load_policy_of

NO_RULES = {"apiVersion": "kubemint/v1", "kind": "Policy", "profiles": {}}
MISTAKES: dict[str, tuple[str, Any, str]] = {
    "no apiVersion": ("apiVersion", DELETED, "apiVersion: Missing data"),
    "another apiVersion": ("apiVersion", "kubemint/v2", "apiVersion: Must be equal to kubemint/v1"),
    "another kind": ("kind", "Policy", "kind: Must be equal to Configuration"),
    "no server": ("server", DELETED, "server: Missing data"),
    "server is a list": ("server", [], "server: Invalid"),
    "no listen": ("server.listen", DELETED, "server.listen: Missing data"),
    "listen without port": ("server.listen", "127.0.0.1", "server.listen: Must be HOST:PORT"),
    "listen on port 65536": ("server.listen", "127.0.0.1:65536", "server.listen: Must be HOST:PORT"),
    "listen on port -1": ("server.listen", "127.0.0.1:-1", "server.listen: Must be HOST:PORT"),
    "listen on port ٨": ("server.listen", "127.0.0.1:٨", "server.listen: Must be HOST:PORT"),
    "listen is a number": ("server.listen", 8443, "server.listen: Not a valid string"),
    "no certificate of the server": ("server.tls.certificateFile", DELETED, "server.tls.certificateFile: Missing"),
    "no key of the server": ("server.tls.keyFile", DELETED, "server.tls.keyFile: Missing"),
    "neither tls nor plainHttp": (
        "server.tls",
        DELETED,
        "server: Must have tls, or plainHttp: true, and not both",
    ),
    "both tls and plainHttp": (
        "server.plainHttp",
        True,
        "server: Must have tls, or plainHttp: true, and not both",
    ),
    "plainHttp is a word": ("server.plainHttp", "yes please", "server.plainHttp: Not a valid boolean"),
    "no workers": ("server.workers", 0, "server.workers: Must be greater"),
    "65 workers": ("server.workers", 65, "server.workers: Must be"),
    "workers in words": ("server.workers", "2", "server.workers: Not a valid integer"),
    "a worker and a half": ("server.workers", 1.5, "server.workers: Not a valid integer"),
    "workers are true": ("server.workers", True, "server.workers: Not a valid integer"),
    "no threads": ("server.threads", 0, "server.threads: Must be greater"),
    "timeout without unit": ("server.requestTimeout", "10", "server.requestTimeout: '10' is not a duration"),
    "timeout is a number": ("server.requestTimeout", 10, "server.requestTimeout: Must be a duration"),
    "timeout of nothing": ("server.requestTimeout", "0s", "server.requestTimeout: '0s' is not a duration"),
    "grace that is negative": ("server.shutdownGrace", "-1m", "server.shutdownGrace: '-1m' is not a duration"),
    "no issuer": ("issuer", DELETED, "issuer: Missing data"),
    "no certificate of the issuer": ("issuer.certificateFile", DELETED, "issuer.certificateFile: Missing data"),
    "an empty path": ("issuer.certificateFile", "", "issuer.certificateFile: Must not be empty"),
    "no policy": ("policyFile", DELETED, "policyFile: Missing data"),
    "no authentication": ("authentication", DELETED, "authentication: Missing data"),
    "certificates by name": (
        "authentication.certificates",
        {"corp": "corp.crt"},
        "authentication.certificates: Not a valid list",
    ),
    "a CA without name": (
        "authentication.certificates.1.name",
        DELETED,
        "authentication.certificates.1.name: Missing data",
    ),
    "a CA without file": (
        "authentication.certificates.0.caFile",
        DELETED,
        "authentication.certificates.0.caFile: Missing data",
    ),
    "two issuers of one name": (
        "authentication.oidc.1.name",
        "github",
        "authentication.oidc: Two have the same name",
    ),
    "an issuer in clear": (
        "authentication.oidc.0.issuer",
        "http://tokens.example.com",
        "authentication.oidc: github: ",
    ),
    "no audience": ("authentication.oidc.0.audiences", [], "authentication.oidc: github: audiences: at least one"),
    "a symmetric algorithm": (
        "authentication.oidc.0.algorithms",
        ["HS256"],
        "authentication.oidc: github: algorithms: 'HS256' is none of RS256",
    ),
    "an algorithm that no token issuer may use": (
        "authentication.oidc.0.algorithms",
        ["RS256", "ES512"],
        "authentication.oidc: github: algorithms: 'ES512' is none of RS256",
    ),
    "no algorithm": ("authentication.oidc.0.algorithms", [], "authentication.oidc: github: algorithms: at least"),
    "a colon in the name of an issuer": (
        "authentication.oidc.0.name",
        "git:hub",
        "authentication.oidc.0.name: String does not match",
    ),
    "an issuer that is a cluster too": (
        "authentication.kubernetes.2.issuer",
        "https://sealed.example.com",
        "authentication: the OIDC issuer sealed and the Kubernetes cluster far have the same issuer "
        "https://sealed.example.com: ",
    ),
    "keys from two places": (
        "authentication.oidc.1.jwksUri",
        "https://keys.example.com",
        "authentication.oidc: sealed: keysFile: with it nothing is fetched",
    ),
    "a claim that is an object": (
        "authentication.oidc.0.requiredClaims",
        {"a": {"b": 1}},
        "authentication.oidc.0.requiredClaims.a: Must be text",
    ),
    "a cluster reviewed in two ways": (
        "authentication.kubernetes.0.keysFile",
        "far.pub",
        "authentication.kubernetes.0: Must name one of",
    ),
    "a cluster that is not inCluster": (
        "authentication.kubernetes.0.inCluster",
        False,
        "authentication.kubernetes.0.inCluster: Not a valid boolean",
    ),
    "no ledger": ("ledger", DELETED, "ledger: Missing data"),
    "no address of the ledger": ("ledger.url", DELETED, "ledger.url: Missing data"),
    "lockWait is a number": ("ledger.lockWait", 5, "ledger.lockWait: Must be a duration"),
    "no name of the cluster": ("cluster.name", DELETED, "cluster.name: Missing data"),
    "no address of the cluster": ("cluster.server", DELETED, "cluster.server: Missing data"),
    "cluster in clear": ("cluster.server", "http://10.0.0.1:6443", "cluster.server: Must be https://"),
    "cluster without scheme": ("cluster.server", "10.0.0.1:6443", "cluster.server: Must be https://"),
}
LEVELS = ("", "server.", "server.tls.", "issuer.", "authentication.", "authentication.certificates.0.", "ledger.")


def problems(file: Path) -> tuple[str, ...]:
    """Give what is wrong with a file that does not load."""
    with pytest.raises(ConfigurationError) as fault:
        config.load(file)
    return fault.value.problems


def test_every_setting(tmp_path: Path) -> None:
    """Each setting gets where it belongs, and relative paths are the file's folder's."""
    settings = config.load(write(tmp_path / "etc"))
    here = tmp_path / "etc"
    assert settings.directory == here
    assert settings.server == config.Server(
        host="127.0.0.1",
        port=8443,
        tls=config.Tls(certificate_file=here / "tls/tls.crt", key_file=here / "tls/tls.key"),
        workers=3,
        threads=5,
        pin_workers=False,
        request_timeout=timedelta(seconds=7),
        shutdown_grace=timedelta(seconds=90),
    )
    assert settings.issuer == config.IssuerFiles(
        certificate_file=here / "ca.crt", key_uri="file:ca.key", passphrase_file=Path("/run/secrets/passphrase")
    )
    assert settings.tokens_file == here / "tokens.yaml"
    assert [authority.name for authority in settings.client_authorities] == ["corp", "lab"]
    assert settings.cluster == config.Cluster(
        name="prod", server="https://10.0.0.1:6443", certificate_authority=certificate_pem()
    )
    assert settings.policy_file == here / "policy/policy.yaml"
    assert [issuer.name for issuer in settings.oidc_issuers] == ["github", "sealed"]
    assert settings.oidc_issuers[0] == OidcIssuer(
        name="github",
        issuer="https://tokens.example.com",
        audiences=("kubemint", "mint"),
        algorithms=("RS256",),
        required_claims=(
            ClaimRule(path="environment", wanted=(Pattern("prod"), Pattern("stage-*"))),
            ClaimRule(path="repository_owner", wanted=(Pattern("acme"),)),
        ),
        identity_claim="repository",
        leeway=timedelta(seconds=10),
        ca_file=here / "lab.crt",
        jwks_uri="https://keys.example.com/jwks",
        max_stale=timedelta(hours=6),
        single_use=True,
    )
    assert settings.oidc_issuers[1] == OidcIssuer(
        name="sealed",
        issuer="https://sealed.example.com",
        audiences=("kubemint",),
        keys_file=here / "sealed.json",
    )
    assert [cluster.review for cluster in settings.kubernetes_clusters] == [
        Review(kubeconfig=None),
        Review(kubeconfig=here / "lab.conf"),
        None,
    ]
    assert settings.kubernetes_clusters[2].keys_file == here / "far.pub"


def test_what_may_be_left_out(tmp_path: Path) -> None:
    """A configuration of what is required alone loads."""
    names = ("workers", "threads", "pinWorkers", "requestTimeout", "shutdownGrace")
    gone = [(f"server.{name}", DELETED) for name in names]
    gone += [("issuer.passphraseFile", DELETED), ("cluster", DELETED)]
    settings = config.load(write(tmp_path / "etc", changed(CONFIGURATION, *gone)))
    assert settings.issuer.passphrase_file is None
    assert settings.cluster is None
    assert settings.server.workers > 0
    assert settings.server.pin_workers


@pytest.mark.parametrize(("path", "value", "said"), MISTAKES.values(), ids=MISTAKES.keys())
def test_each_mistake_has_its_path(tmp_path: Path, path: str, value: Any, said: str) -> None:
    """A mistake is told once, beginning with its path in the file, and nothing else is."""
    (problem,) = problems(write(tmp_path / "etc", changed(CONFIGURATION, (path, value))))
    assert problem.startswith(said)


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    """Whoever has made several mistakes learns of all of them, each with the file's name."""
    chosen = ("kind", "server.workers", "server.requestTimeout", "policyFile", "ledger.lockWait", "cluster.server")
    changes = [next((at, value) for at, value, _ in MISTAKES.values() if at == path) for path in chosen]
    file = write(tmp_path / "etc", changed(CONFIGURATION, *changes))
    assert {problem.partition(":")[0] for problem in problems(file)} == set(chosen)
    with pytest.raises(ConfigurationError) as fault:
        config.load(file)
    lines = fault.value.message.splitlines()
    assert len(lines) == len(chosen)
    assert all(line.startswith(f"{file}: ") for line in lines)


def test_mistakes_of_all_token_issuers_are_told_at_once(tmp_path: Path) -> None:
    """A mistake of one token issuer does not hide those of the next, nor what is wrong between them."""
    document = changed(
        CONFIGURATION,
        ("authentication.oidc.0.leeway", "1h"),
        ("authentication.oidc.1.jwksUri", "https://keys.example.com"),
        ("authentication.kubernetes.0.issuer", "https://tokens.example.com"),
    )
    assert [
        problem.partition(": ")[2].partition(":")[0] for problem in problems(write(tmp_path / "etc", document))
    ] == [
        "github",
        "sealed",
        "the OIDC issuer github and the Kubernetes cluster prod have the same issuer https",
    ]


@pytest.mark.parametrize("level", [*LEVELS, "cluster."])
def test_an_unknown_key_stops_the_start(tmp_path: Path, level: str) -> None:
    """A key that nobody knows is told with its path, at whatever level it stands (promise P6)."""
    (problem,) = problems(write(tmp_path / "etc", changed(CONFIGURATION, (f"{level}colour", "blue"))))
    assert problem == f"{level}colour: Unknown field."


@pytest.mark.parametrize("text", ["", "- a list", "just text", "7", "null"])
def test_a_document_of_another_shape(tmp_path: Path, text: str) -> None:
    """A file that holds no mapping does not load."""
    file = write(tmp_path / "etc")
    file.write_text(text)
    assert problems(file)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kind: [", "line 1"),
        ("a: 1\na: 2", "repeated"),
        ("a: &x 1\nb: *x", "aliases"),
        ("--- a\n--- b", "line 2"),
        ("a: !!python/object:os.system 1", "line 1"),
        ("\xff", "kind"),
    ],
)
def test_a_document_that_cannot_be_read_in_one_way(tmp_path: Path, text: str, said: str) -> None:
    """YAML that is broken, or that two readers could read differently, does not load."""
    file = write(tmp_path / "etc")
    file.write_bytes(text.encode("latin-1"))
    (problem, *_) = problems(file)
    assert said in problem or "UTF-8" in problem


def test_plain_http(tmp_path: Path) -> None:
    """Plain HTTP is there for who asks for it by name, and then without TLS."""
    document = changed(CONFIGURATION, ("server.tls", DELETED), ("server.plainHttp", True))
    assert config.load(write(tmp_path / "etc", document)).server.tls is None


@pytest.mark.parametrize(
    ("listen", "host", "port"),
    [
        ("127.0.0.1:8443", "127.0.0.1", 8443),
        ("[::1]:443", "::1", 443),
        ("[::]:8443", "::", 8443),
        ("0.0.0.0:65535", "0.0.0.0", 65535),
        ("kubemint.internal:443", "kubemint.internal", 443),
    ],
)
def test_addresses_to_listen_on(tmp_path: Path, listen: str, host: str, port: int) -> None:
    """IPv4, IPv6 in brackets and names are read with their port."""
    server = config.load(write(tmp_path / "etc", changed(CONFIGURATION, ("server.listen", listen)))).server
    assert (server.host, server.port) == (host, port)


@pytest.mark.parametrize(
    ("change", "path"),
    [
        (("profiles.developers.requesters.1.certificate", "crop"), "profiles.developers.requesters.1"),
        (("profiles.developers.requesters.2.oidc", "crop"), "profiles.developers.requesters.2"),
        (("profiles.developers.requesters.3.kubernetes", "crop"), "profiles.developers.requesters.3"),
        (("roles.auditor.0.certificate", "crop"), "roles.auditor.0"),
    ],
)
def test_a_rule_for_an_unknown_authority(tmp_path: Path, change: tuple[str, str], path: str) -> None:
    """A rule that names who is not configured would match nobody: it stops the start, with its path."""
    settings = config.load(write(tmp_path / "etc", policy=changed(POLICY, change)))
    with pytest.raises(ConfigurationError) as fault:
        load_policy_of(settings)
    (problem,) = fault.value.problems
    assert problem.startswith(f"{path}: ")
    assert "'crop'" in problem


def test_a_rule_for_a_known_ca(tmp_path: Path) -> None:
    """Rules may name each CA of the configuration, and need not name all."""
    policy = changed(POLICY, ("roles.auditor.0.certificate", "corp"))
    loaded = load_policy_of(config.load(write(tmp_path / "etc", policy=policy)))
    assert [profile.name for profile in loaded.profiles] == ["developers"]


@pytest.mark.parametrize("name", ["policy/policy.yaml", "corp.crt", "cluster.crt"])
def test_a_file_that_is_not_there(tmp_path: Path, name: str) -> None:
    """A file that the configuration names and that cannot be read is told by its path."""
    file = write(tmp_path / "etc")
    (file.parent / name).unlink()
    with pytest.raises(ConfigurationError, match=f"{name}: cannot be read: No such file"):
        load_policy_of(config.load(file))


@pytest.mark.parametrize("name", ["corp.crt", "cluster.crt"])
def test_a_file_without_a_certificate(tmp_path: Path, name: str) -> None:
    """A CA file without a certificate in it is told by its path."""
    file = write(tmp_path / "etc")
    (file.parent / name).write_text("nothing")
    with pytest.raises(ConfigurationError, match=f"{name}: there is no certificate"):
        config.load(file)


def test_the_configuration_itself_is_not_there(tmp_path: Path) -> None:
    """A configuration that is not there is told by its path."""
    with pytest.raises(ConfigurationError, match=r"gone\.yaml: cannot be read"):
        config.load(tmp_path / "gone.yaml")


def test_a_relative_path_of_the_configuration(tmp_path: Path) -> None:
    """A configuration named by a relative path has its own folder's paths, wherever the process goes later."""
    write(tmp_path / "etc")
    with chdir(tmp_path):
        settings = config.load(Path("etc/kubemint.yaml"))
    assert settings.issuer.certificate_file == tmp_path / "etc" / "ca.crt"


def test_keys_and_tokens_are_not_opened(tmp_path: Path) -> None:
    """Loading reads no key and no token: they are opened where they are used, after the fork."""
    settings = config.load(write(tmp_path / "etc"))
    assert not settings.issuer.certificate_file.exists()
    assert settings.tokens_file is not None
    assert not settings.tokens_file.exists()


def test_mistakes_of_the_policy_have_its_file(tmp_path: Path) -> None:
    """A mistake in the policy is told with the policy's file and the path in it."""
    policy = changed(POLICY, ("profiles.developers.users", ["system:masters"]), ("roles.auditr", []))
    file = write(tmp_path / "etc", policy=policy)
    settings = config.load(file)
    with pytest.raises(ConfigurationError) as fault:
        load_policy_of(settings)
    assert fault.value.source == str(tmp_path / "etc" / "policy" / "policy.yaml")
    assert len(fault.value.problems) == 2


def test_the_example_of_the_tests_is_yaml_that_people_write(tmp_path: Path) -> None:
    """JSON is YAML: a configuration in it loads the same."""
    file = write(tmp_path / "etc")
    before = config.load(file)
    file.write_text(yaml.safe_dump(CONFIGURATION, default_flow_style=True))
    assert config.load(file) == before


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("issuer.key", DELETED, "issuer.key: Missing data"),
        ("issuer.key", 7, "issuer.key: Not a valid string"),
        ("server.key", "x", "server.key: Unknown field"),
        ("ledger.value", "x", "ledger.value: Unknown field"),
        ("value", "x", "value: Unknown field"),
    ],
)
def test_a_setting_called_key_or_value_has_its_path(tmp_path: Path, path: str, value: object, said: str) -> None:
    """A mistake under a key that is called `key` or `value` has its whole path."""
    (problem,) = problems(write(tmp_path / "etc", changed(CONFIGURATION, (path, value))))
    assert problem.startswith(said)


def test_the_ledgers_address_is_told_with_the_other_mistakes(tmp_path: Path) -> None:
    """A wrong ledger.url is among the mistakes that are told at once."""
    document = changed(CONFIGURATION, ("ledger.url", "mysql://host/x"), ("server.workers", 0))
    assert {problem.partition(":")[0] for problem in problems(write(tmp_path / "etc", document))} == {
        "ledger.url",
        "server.workers",
    }


@pytest.mark.parametrize("listen", [":8443", "[]:8443", " :8443", "127.0.0.1:0"])
def test_an_address_to_listen_on_is_named(tmp_path: Path, listen: str) -> None:
    """Without a host, or with port 0, nothing is listened on: every address is `0.0.0.0` or `[::]`, by name."""
    (problem,) = problems(write(tmp_path / "etc", changed(CONFIGURATION, ("server.listen", listen))))
    assert problem.startswith("server.listen: ")


def test_a_port_of_many_digits(tmp_path: Path) -> None:
    """A port of thousands of digits is a mistake like any other."""
    document = changed(CONFIGURATION, ("server.listen", "127.0.0.1:" + "1" * 5000))
    (problem,) = problems(write(tmp_path / "etc", document))
    assert problem.startswith("server.listen: ")


def test_two_client_cas_of_one_name(tmp_path: Path) -> None:
    """Two CAs under one name would make one identity of two people: it is refused."""
    document = changed(CONFIGURATION, ("authentication.certificates.1.name", "corp"))
    assert any(
        "authentication.certificates" in each for each in problems(write(tmp_path / "etc", document, NO_RULES))
    )


@pytest.mark.parametrize("name", ["corp:CN=jane", "corp\nlab", " corp"])
def test_the_name_of_a_client_ca_is_a_plain_word(tmp_path: Path, name: str) -> None:
    """A CA's name is part of identities and of rules: it is as plain as a token's."""
    document = changed(CONFIGURATION, ("authentication.certificates.1.name", name))
    assert any(
        "authentication.certificates" in each for each in problems(write(tmp_path / "etc", document, NO_RULES))
    )


def test_a_comment_beside_the_clusters_ca(tmp_path: Path) -> None:
    """Text around the PEM, in whatever encoding, stops no start."""
    file = write(tmp_path / "etc")
    (file.parent / "cluster.crt").write_text("# CA of Zürich\n" + certificate_pem())
    cluster = config.load(file).cluster
    assert cluster is not None
    assert certificate_pem() in (cluster.certificate_authority or "")
