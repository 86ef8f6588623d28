"""Ways in which clients behave badly. Each is tried by a crowd while good clients ask for certificates."""

import contextlib
import socket
import ssl
import time

from service.clients import Behaviour, Crowd, drips, request_head, reset, sends

_HELLO = bytes.fromhex("1603010200010001fc0303") + bytes(32)  # the first octets of a ClientHello of 512
_BIG_ASSET = "/docs/swagger-ui-bundle.js"
_CHUNKED = request_head("Transfer-Encoding: chunked") + b"\r\n"
_LONG_HEADERS = tuple(f"X-Long-{number}: {'a' * 8000}" for number in range(9))


def _asks_and_never_reads(crowd: Crowd) -> None:
    client = crowd.tls(receive_buffer=2048)
    client.sendall(request_head(method="GET", path=_BIG_ASSET) + b"\r\n")
    crowd.hold()


def _reads_slowly(crowd: Crowd) -> None:
    client = crowd.tls(receive_buffer=2048)
    client.sendall(request_head(method="GET", path=_BIG_ASSET) + b"\r\n")
    while crowd.stays(0.5) and client.recv(16384):
        pass
    client.close()


def _stays_after_close(crowd: Crowd) -> None:
    client = crowd.tls()
    client.sendall(request_head("Content-Length: 0", "Connection: close") + b"\r\n")
    client.recv(1)
    crowd.hold()


def _sends_on_after_close(crowd: Crowd) -> None:
    client = crowd.tls()
    client.sendall(request_head("Content-Length: 0", "Connection: close") + b"\r\n")
    client.recv(1)
    with socket.socket(fileno=client.detach()) as raw:
        raw.settimeout(5)
        while crowd.stays():
            raw.sendall(bytes(256 * 1024))


def _sends_a_huge_body(crowd: Crowd) -> None:
    client = crowd.tls()
    client.sendall(request_head("Content-Length: 1048576") + b"\r\n")
    for _ in range(64):
        client.sendall(b"A" * 16384)
    crowd.hold()


def _pipelines(crowd: Crowd) -> None:
    client = crowd.tls()
    client.sendall((request_head(method="GET", path="/livez") + b"\r\n") * 50)
    crowd.hold()


def _sends_tiny_records(crowd: Crowd) -> None:
    """Make each octet of a body cost a look at a head that is as long as it may be."""
    client = crowd.tls()
    client.sendall(request_head(*_LONG_HEADERS[:7], "Content-Length: 60000") + b"\r\n")
    _send_octets_singly(crowd, client)


def _sends_tiny_records_of_chunks(crowd: Crowd) -> None:
    """Make each octet cost a walk over all the chunks before it."""
    client = crowd.tls()
    client.sendall(_CHUNKED + b"1\r\na\r\n" * 20000)
    _send_octets_singly(crowd, client)


def _send_octets_singly(crowd: Crowd, client: ssl.SSLSocket) -> None:
    for _ in range(20_000):  # less than half a megabyte on the wire
        client.sendall(b"1")
    crowd.hold()


def _breaks_the_handshake(crowd: Crowd) -> None:
    while crowd.stays(0.2):
        client = crowd.tcp()
        client.sendall(_HELLO)
        reset(client)


def _breaks_off_while_it_is_answered(crowd: Crowd) -> None:
    while crowd.stays(0.05):
        client = crowd.tls()
        client.sendall(request_head(method="GET", path=_BIG_ASSET) + b"\r\n")
        client.recv(1)
        reset(client)


def _breaks_off_after_asking(crowd: Crowd) -> None:
    while crowd.stays(0.05):
        client = crowd.tls()
        client.sendall(request_head(method="GET", path="/livez") + b"\r\n")
        reset(client)


def _says_goodbye_in_tls_alone(crowd: Crowd) -> None:
    """Send close_notify behind a request and keep TCP open."""
    client = crowd.tls()
    client.sendall(request_head(method="GET", path=_BIG_ASSET) + b"\r\n")
    client.settimeout(0.2)
    with contextlib.suppress(ssl.SSLError, TimeoutError):
        client.unwrap()
    crowd.hold()


def _sends_garbage_in_tls(crowd: Crowd) -> None:
    while crowd.stays(0.05):
        client = crowd.tls()
        client.sendall(request_head())
        with socket.socket(fileno=client.detach()) as raw:
            raw.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
            time.sleep(0.02)


# These cost the crowd more work than a connection; so few are enough, and more would only slow the test.
FEW = {"sends a body in tiny TLS records": 12, "sends chunks in tiny TLS records": 12}

BEHAVIOURS: dict[str, Behaviour] = {
    "connects and says nothing": sends(b"", tls=False),
    "sends half a ClientHello": sends(_HELLO, tls=False),
    "drips a ClientHello": drips(_HELLO, tls=False),
    "speaks HTTP without TLS": sends(b"GET /livez HTTP/1.1\r\nHost: kubemint\r\n\r\n", tls=False),
    "ends the handshake and says nothing": sends(b""),
    "sends half a head": sends(request_head()),
    "drips a head": drips(request_head() + b"X-Slow: "),
    "sends half a body": sends(request_head("Content-Length: 400") + b"\r\n" + b"A" * 200),
    "drips a body": drips(request_head("Content-Length: 400") + b"\r\n"),
    "waits for 100 Continue": sends(request_head("Content-Length: 400", "Expect: 100-continue") + b"\r\n"),
    "announces a large body and sends none": sends(request_head("Content-Length: 1048576") + b"\r\n"),
    "announces a body of a terabyte": sends(request_head("Content-Length: 1000000000000") + b"\r\n"),
    "writes a length with zeros in front": sends(request_head("Content-Length: 0000000000000400") + b"\r\n"),
    "sends a large body and reads nothing": _sends_a_huge_body,
    "sends a chunk and not the last": sends(_CHUNKED + b"5\r\nhello\r\n"),
    "sends half a chunk": sends(_CHUNKED + b"50\r\nhello"),
    "sends half a chunk's size": sends(_CHUNKED + b"5"),
    "sends no chunk size": sends(_CHUNKED + b"zz\r\nhello\r\n"),
    "sends a negative chunk size": sends(_CHUNKED + b"-5\r\nhello\r\n0\r\n\r\n"),
    "sends a chunk size of sixteen octets": sends(_CHUNKED + b"ffffffffffffffff\r\nhello"),
    "sends trailers without end": sends(_CHUNKED + b"0\r\nX-Trailer: a\r\n"),
    "sends chunks beyond the limit without end": sends(_CHUNKED + b"1\r\na\r\n" * 22_000),
    "sends one chunk beyond the limit": sends(_CHUNKED + b"100000\r\n" + b"A" * 131_070),
    "sends a long head without end": sends(request_head(*_LONG_HEADERS)),
    "drips a long head": drips(request_head(*_LONG_HEADERS) + b"X-Slow: "),
    "sends a long line without end": sends(b"GET /" + b"a" * 70_000),
    "sends empty lines": sends(b"\r\n" * 500),
    "asks for much and never reads": _asks_and_never_reads,
    "asks for much and reads slowly": _reads_slowly,
    "pipelines and never reads": _pipelines,
    "stays after Connection: close": _stays_after_close,
    "sends on after Connection: close": _sends_on_after_close,
    "sends a body in tiny TLS records": _sends_tiny_records,
    "sends chunks in tiny TLS records": _sends_tiny_records_of_chunks,
    "breaks off in the handshake": _breaks_the_handshake,
    "breaks off while it is answered": _breaks_off_while_it_is_answered,
    "breaks off after asking": _breaks_off_after_asking,
    "says goodbye in TLS alone": _says_goodbye_in_tls_alone,
    "sends garbage in TLS": _sends_garbage_in_tls,
}
