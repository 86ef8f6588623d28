"""Talking to a service: where it is, whom to trust, what is sent again, and to whom a token is never sent."""

from contextlib import chdir
from pathlib import Path

import pytest

from client.peers import DROP, Peer, Reply, document, listening, problem
from commands.cli import failed_cleanly, kubemint_process
from kubemint.client.connection import ServiceAddress, ServiceConnection, find_service
from kubemint.errors import ConfigurationError, ServiceRefused, ServiceUnavailable
from running_service import RunningService, free_port

TOKEN = "kubemint_secret"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Give a folder with a client.yaml and a token."""
    (tmp_path / ".kubemint").mkdir()
    (tmp_path / ".kubemint" / "client.yaml").write_text(
        "url: https://file.example:1\nca: file.crt\ntokenFile: file.token\n"
    )
    (tmp_path / "token").write_text(TOKEN + "\n")
    return tmp_path


class Pauses(list[float]):
    """Notes how long the client would have paused, and does not wait."""

    def __call__(self, seconds: float) -> None:
        """Note a pause."""
        self.append(seconds)


def connect(peer: Peer, place: Path, pauses: Pauses | None = None) -> ServiceConnection:
    """Connect to a peer with the token."""
    address = find_service(peer.url, None, place / "token", {})
    return ServiceConnection(address, pauses if pauses is not None else Pauses())


def found(place: Path, *given: str | None, **variables: str) -> tuple[str, str | None, str | None]:
    """Find the service from a folder, with options and variables; give url, CA and token file as text."""
    url, ca, token = (*given, None, None, None)[:3]
    with chdir(place):
        address: ServiceAddress = find_service(url, ca and Path(ca), token and Path(token), variables)
    return (
        address.url.geturl(),
        address.ca_file and str(address.ca_file),
        address.token_file and str(address.token_file),
    )


VARIABLES = {
    "KUBEMINT_URL": "https://variable.example:2",
    "KUBEMINT_CA": "v.crt",
    "KUBEMINT_TOKEN_FILE": "v.token",
}
OPTIONS = ("https://option.example:3", "o.crt", "o.token")


def test_an_option_comes_before_a_variable_before_the_file(place: Path) -> None:
    """Options win over variables, and variables over .kubemint/client.yaml, whose paths are its folder's."""
    assert found(place, *OPTIONS, **VARIABLES) == OPTIONS
    assert found(place, **VARIABLES) == ("https://variable.example:2", "v.crt", "v.token")
    assert found(place) == ("https://file.example:1", ".kubemint/file.crt", ".kubemint/file.token")


def test_each_setting_is_found_on_its_own(place: Path) -> None:
    """Where one comes from an option, another may come from a variable, and none from the file of a folder."""
    mixed = found(place, OPTIONS[0], KUBEMINT_CA="v.crt")
    assert mixed == ("https://option.example:3", "v.crt", None)


def test_a_token_goes_to_no_address_of_a_folder(place: Path) -> None:
    """A token that was named does not go to the address that came with the folder one stands in."""
    with pytest.raises(ConfigurationError, match="name it with --url"):
        found(place, KUBEMINT_TOKEN_FILE="v.token")


def test_an_address_alone_says_what_is_missing(service: RunningService, tmp_path: Path) -> None:
    """Whoever names the address of a service with its own CA is told of --ca, and then of --token-file."""
    command = "request", "--user", "jane", "--url", service.url
    untrusted = kubemint_process(*command, cwd=tmp_path)
    assert failed_cleanly(untrusted), untrusted.errors
    assert "name its CA with --ca or KUBEMINT_CA" in untrusted.errors
    unknown = kubemint_process(*command, cwd=tmp_path, KUBEMINT_CA=str(service.tls_ca_file))
    assert failed_cleanly(unknown), unknown.errors
    assert "no token was shown; name one with --token-file or KUBEMINT_TOKEN_FILE" in unknown.errors


def test_a_token_that_was_shown_is_not_called_missing(tmp_path: Path) -> None:
    """Where a token was named, and is not believed, the answer is told as it came."""
    (tmp_path / "token").write_text(TOKEN)
    with listening(problem(401)) as peer, pytest.raises(ServiceRefused) as refused:
        connect(peer, tmp_path).get("/v1/policy")
    assert "no token" not in refused.value.message


def test_without_any_the_error_names_the_ways(tmp_path: Path) -> None:
    """Where nothing names a service, the error says how to."""
    with chdir(tmp_path), pytest.raises(ConfigurationError, match=r"--url or KUBEMINT_URL.*client\.yaml"):
        find_service(None, None, None, {})


@pytest.mark.parametrize(
    "url",
    [
        "http://kubemint.example",
        "http://10.0.0.1:8443",
        "http://127.0.0.1.example.org",
        "http://localhost.example.org",
        "http://user@kubemint.example",
        "http://127.0.0.1@kubemint.example",
        "http://0.0.0.0:8080",
        "ftp://127.0.0.1",
        "//kubemint.example",
    ],
)
def test_a_token_is_not_sent_in_clear(url: str) -> None:
    """An address without TLS is refused, unless it is this machine's."""
    with pytest.raises(ConfigurationError, match="must begin with https://"):
        find_service(url, None, None, {})


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "kubemint.example", "127.0.0.1:8443", "https://", "https:///v1"]
)
def test_an_address_without_a_host(url: str) -> None:
    """An address that names no host is refused, and no host is guessed."""
    with pytest.raises(ConfigurationError, match="names no host"):
        find_service(url, None, None, {})


@pytest.mark.parametrize(
    "url", ["https://kubemint.example", "http://127.0.0.1:1", "http://localhost", "http://[::1]:1"]
)
def test_tls_or_this_machine(url: str) -> None:
    """An address with TLS, or of this machine, is taken."""
    assert find_service(url, None, None, {}).url.geturl() == url


def test_what_is_sent(place: Path) -> None:
    """A request carries the token, as a bearer, and a path below the address's own."""
    with listening(document(user="jane")) as peer:
        address = find_service(f"{peer.url}/prefix/", None, place / "token", {})
        assert ServiceConnection(address).get("/v1/policy") == {"user": "jane"}
    (seen,) = peer.seen
    assert (seen.method, seen.path) == ("GET", "/prefix/v1/policy")
    assert seen.headers["Authorization"] == f"Bearer {TOKEN}"


def test_without_a_token_none_is_sent() -> None:
    """Where no token file is named, no Authorization header is sent."""
    with listening() as peer:
        ServiceConnection(find_service(peer.url, None, None, {})).get("/v1/ca")
    assert "Authorization" not in peer.seen[0].headers


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["get", "post"])
def test_no_redirect_is_followed(place: Path, status: int, method: str) -> None:
    """Wherever a redirect points, nothing is sent there, no token above all."""
    with listening(document(user="eve")) as thief:
        redirect = Reply(status=status, headers={"Location": f"{thief.url}/v1/certificates"}, body=b"moved")
        with listening(redirect) as peer:
            connection = connect(peer, place)
            arguments = ("/v1/certificates",) if method == "get" else ("/v1/certificates", {})
            with pytest.raises(ServiceUnavailable, match=str(status)):
                getattr(connection, method)(*arguments)
    assert thief.seen == []
    assert len(peer.seen) == 1


@pytest.mark.parametrize("fault", [problem(503), Reply(status=DROP)], ids=["503", "dropped connection"])
def test_what_failed_for_now_is_sent_again_under_its_key(place: Path, fault: Reply) -> None:
    """After a 503 or a lost connection the same request goes out again, with the same Idempotency-Key."""
    pauses = Pauses()
    with listening(fault, fault, document(user="jane")) as peer:
        assert connect(peer, place, pauses).post("/v1/certificates", {"csr": "x"}) == {"user": "jane"}
    assert len(peer.seen) == 3
    assert len({seen.headers["Idempotency-Key"] for seen in peer.seen}) == 1
    assert {seen.body for seen in peer.seen} == {b'{"csr": "x"}'}
    assert len(pauses) == 2


def test_each_request_has_its_own_key(place: Path) -> None:
    """Two requests are two, whatever they say."""
    with listening() as peer:
        connection = connect(peer, place)
        for _ in range(2):
            connection.post("/v1/certificates", {"csr": "x"})
    keys = [seen.headers["Idempotency-Key"] for seen in peer.seen]
    assert len(set(keys)) == 2
    assert all(len(key) >= 22 for key in keys)  # 128 bits in base64url at the least


def test_the_tries_end(place: Path) -> None:
    """A service that stays busy is given up after three tries, and what it said is told."""
    with (
        listening(problem(503, detail="The ledger is full.")) as peer,
        pytest.raises(ServiceUnavailable, match="503: The ledger is full"),
    ):
        connect(peer, place).post("/v1/certificates", {})
    assert len(peer.seen) == 3


def test_nobody_there(place: Path) -> None:
    """Where nobody listens, the error names the address."""
    url = f"http://127.0.0.1:{free_port()}"
    pauses = Pauses()
    with pytest.raises(ServiceUnavailable, match=f"{url} does not answer"):
        ServiceConnection(find_service(url, None, place / "token", {}), pauses).get("/v1/ca")
    assert len(pauses) == 2


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 422, 429])
def test_a_refusal_is_not_sent_again(place: Path, status: int) -> None:
    """What the service refuses is refused: one request, and its problem with every reason and error."""
    reasons = [{"code": f"code-{name}", "message": f"not {name}", "path": f"rule.{name}"} for name in "ab"]
    errors = [{"path": "csr", "message": "Must not be empty."}]
    with (
        listening(problem(status, reasons=reasons, errors=errors)) as peer,
        pytest.raises(ServiceRefused) as refusal,
    ):
        connect(peer, place).post("/v1/certificates", {})
    assert len(peer.seen) == 1
    assert refusal.value.status == status
    assert [reason.code for reason in refusal.value.reasons] == ["code-a", "code-b"]
    assert refusal.value.message.splitlines() == [
        "Some detail. (some-code, request request-1)",
        "  - not a [rule.a]",
        "  - not b [rule.b]",
        "  - csr: Must not be empty.",
    ]


@pytest.mark.parametrize("status", [500, 502, 504])
def test_a_fault_is_told(place: Path, status: int) -> None:
    """A fault of the service is told with its request's id, and not sent again."""
    with (
        listening(problem(status)) as peer,
        pytest.raises(ServiceUnavailable, match=f"{status}: Some detail.*request-1"),
    ):
        connect(peer, place).get("/v1/ca")
    assert len(peer.seen) == 1


@pytest.mark.parametrize("status", [200, 404, 500])
@pytest.mark.parametrize("body", [b"<html>nginx</html>", b"", b"\xff", b'{"a": 1, "a": 2}'])
def test_an_answer_that_is_no_json(place: Path, status: int, body: bytes) -> None:
    """Something else than kubemint at the address is told as such."""
    with (
        listening(Reply(status=status, body=body)) as peer,
        pytest.raises(ServiceUnavailable, match="without JSON; is it kubemint"),
    ):
        connect(peer, place).get("/v1/ca")


@pytest.mark.parametrize("content", [None, b"\xff\xfe"], ids=["missing", "no ASCII"])
def test_a_token_file_that_cannot_be_read(tmp_path: Path, content: bytes | None) -> None:
    """A token file that is missing or no text is told before anything is sent."""
    if content is not None:
        (tmp_path / "token").write_bytes(content)
    with listening() as peer:
        address = find_service(peer.url, None, tmp_path / "token", {})
        with pytest.raises(ConfigurationError, match="token"):
            ServiceConnection(address)
    assert peer.seen == []


def test_a_ca_file_that_is_none(tmp_path: Path) -> None:
    """A CA file that is missing, or holds no certificate, is told by its name."""
    (tmp_path / "empty.crt").write_text("nothing")
    for name in ("missing.crt", "empty.crt"):
        address = find_service("https://127.0.0.1:1", tmp_path / name, None, {})
        with pytest.raises(ConfigurationError, match=name):
            ServiceConnection(address).get("/v1/ca")


def test_a_service_that_is_not_trusted_gets_no_token(service: RunningService, tmp_path: Path) -> None:
    """A certificate that the given CA does not vouch for ends the connection at once: no second try."""
    pauses = Pauses()
    address = find_service(service.url, service.ca_file, service.directory / "requester.token", {})
    with pytest.raises(ServiceUnavailable, match="is not trusted"):
        ServiceConnection(address, pauses).get("/v1/policy")
    assert pauses == []


def test_a_service_of_another_name_gets_no_token(service: RunningService) -> None:
    """A certificate for other names than the address's is not trusted."""
    address = find_service(
        f"https://127.0.0.2:{service.port}", service.tls_ca_file, service.directory / "requester.token", {}
    )
    with pytest.raises(ServiceUnavailable):
        ServiceConnection(address, Pauses()).get("/v1/policy")


def test_the_real_service(service: RunningService) -> None:
    """From where client.yaml is, the service is found, trusted and asked."""
    with chdir(service.directory.parent):
        connection = ServiceConnection(find_service(None, None, None, {}))
        assert connection.get("/v1/policy")["requester"]


def test_a_redirect_with_json_in_it_is_no_answer(tmp_path: Path) -> None:
    """A redirect is told as one, whatever its body, and is not taken for the answer."""
    with listening(Reply(status=302, headers={"Location": "/elsewhere"}, body=b"{}")) as peer:
        ran = kubemint_process("request", "--user", "jane", "--url", peer.url, cwd=tmp_path)
    assert failed_cleanly(ran), ran.errors


@pytest.mark.parametrize("url", ["https://127.0.0.1:port", "https://127.0.0.1:99999", "https://[::1"])
def test_an_address_that_is_none(tmp_path: Path, url: str) -> None:
    """An address that cannot be read is told with a sentence."""
    ran = kubemint_process("request", "--user", "jane", "--url", url, cwd=tmp_path)
    assert failed_cleanly(ran) or ran.code == 2, ran.errors
    assert "Traceback" not in ran.errors


@pytest.mark.parametrize("text", ["- url", "just text", "url: 7", "url: https://127.0.0.1:1\nca: 7", ""])
def test_a_client_file_of_another_shape(tmp_path: Path, text: str) -> None:
    """A client.yaml that is no mapping of texts is told with its path."""
    (tmp_path / ".kubemint").mkdir()
    (tmp_path / ".kubemint" / "client.yaml").write_text(text)
    ran = kubemint_process("request", "--user", "jane", cwd=tmp_path)
    assert failed_cleanly(ran), ran.errors


def test_a_token_file_of_two_lines(tmp_path: Path) -> None:
    """A token file that holds more than a token is told, and nothing is sent."""
    (tmp_path / "token").write_text("one\ntwo\n")
    with listening() as peer:
        options = ("--url", peer.url, "--token-file", "token")
        ran = kubemint_process("request", "--user", "jane", *options, cwd=tmp_path)
    assert failed_cleanly(ran), ran.errors
    assert "two" not in ran.errors
    assert peer.seen == []


@pytest.mark.parametrize("reply", [Reply(body=b"[]"), Reply(status=500, body=b"[]"), Reply(status=403, body=b"7")])
def test_json_of_another_kind_is_no_answer(tmp_path: Path, reply: Reply) -> None:
    """JSON that is no object is not what kubemint answers, and is told as such."""
    with listening(reply) as peer:
        ran = kubemint_process("request", "--user", "jane", "--url", peer.url, cwd=tmp_path)
    assert failed_cleanly(ran), ran.errors
    assert "is it kubemint?" in ran.errors


def test_an_unknown_key_in_the_client_file(tmp_path: Path) -> None:
    """A misspelt key in client.yaml is no key: the file is named, and what it may hold (promise P6)."""
    (tmp_path / ".kubemint").mkdir()
    (tmp_path / ".kubemint" / "client.yaml").write_text("url: https://127.0.0.1:1\ntokenfile: requester.token\n")
    ran = kubemint_process("request", "--user", "jane", cwd=tmp_path)
    assert failed_cleanly(ran), ran.errors
    assert "client.yaml: may hold ca, logKey, tokenFile, url and nothing else" in ran.errors
