"""Telling when a whole HTTP/1.1 request has arrived, and nothing more (RFC 9112, sections 6 and 7).

What a request means is gunicorn's parser to say; this only finds its last octet, so that the parser
never has to wait for one. What has been looked at is not looked at again, however small the pieces are
that it comes in, but for the line of a chunk that is not complete.
"""

import re
from typing import Final

BODY_MAX_OCTETS: Final = 64 * 1024  # a CSR has at most 16 KiB, and base64 of base64 makes that 29
HEAD_MAX_OCTETS: Final = 64 * 1024
CHUNKED_MAX_OCTETS: Final = 2 * BODY_MAX_OCTETS  # a chunk has a frame; chunks of one octet pay six for it
PIECES_MAX: Final = 2000  # no client sends 200 KiB in more

_CHUNK_LINE_MAX_OCTETS: Final = 4096
_LENGTH: Final = re.compile(rb"^content-length:[ \t]*(\d+)[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)
_TRANSFER_ENCODING: Final = re.compile(rb"^transfer-encoding:", re.IGNORECASE | re.MULTILINE)
_HEX: Final = re.compile(rb"[0-9a-f]{1,8}", re.IGNORECASE)
_EXPECT: Final = re.compile(rb"\r\nexpect:[ \t]*100-continue[ \t]*(?=\r\n)", re.IGNORECASE)


class HeadTooLong(Exception):
    """The head of a request does not end where it must."""


class TooManyPieces(Exception):
    """A request comes in more pieces than a client sends."""


class Arrival:
    """What has come of a connection's next request. `take` gives it, once `is_complete` says so.

    `body_refused` tells that the body is larger than any that is read: the request is complete without
    it, and what follows on the connection is not another request.
    """

    def __init__(self) -> None:
        self._octets = bytearray()
        self._expects = False
        self._begin_request()

    @property
    def has_begun(self) -> bool:
        """Tell whether there is anything of a request yet."""
        return bool(self._octets)

    def add(self, octets: bytes) -> None:
        """Take what has arrived."""
        self._octets += octets
        self._pieces += 1

    def is_complete(self) -> bool:
        """Tell whether the whole request is here.

        Raises:
            HeadTooLong: its head is larger than any that is read.
            TooManyPieces: no client sends it like this.
        """
        if self._pieces > PIECES_MAX:
            raise TooManyPieces
        if self._head_end is None and not self._find_head():
            return False
        if self._next_chunk is not None and self._end is None:
            self._find_last_chunk(self._next_chunk)
        return self._end is not None and len(self._octets) >= self._end

    def wants_to_continue(self) -> bool:
        """Tell, once, that the client waits for a word before it sends the body (RFC 9110 10.1.1)."""
        wants, self._expects = self._expects, False
        return wants

    def take(self) -> bytes:
        """Give the complete request; what came behind it is the beginning of the next."""
        end = len(self._octets) if self._end is None else self._end
        request = bytes(self._octets[:end])
        del self._octets[:end]
        self._begin_request()
        return _EXPECT.sub(b"", request, count=1)

    def _begin_request(self) -> None:
        self._pieces = 0
        self._searched = 0
        self._head_end: int | None = None
        self._next_chunk: int | None = None
        self._end: int | None = None
        self._expects = False
        self.body_refused = False

    def _find_head(self) -> bool:
        found = self._octets.find(b"\r\n\r\n", max(0, self._searched - 3))
        self._searched = len(self._octets)
        if found < 0:
            if len(self._octets) > HEAD_MAX_OCTETS:
                raise HeadTooLong
            return False
        self._head_end = found + 4
        self._read_head(self._octets[: found + 2])
        return True

    def _read_head(self, head: bytearray) -> None:
        """Find out how the body ends. A head that says two things is the parser's to refuse."""
        start = len(head) + 2
        length = _LENGTH.search(head)
        if _TRANSFER_ENCODING.search(head):
            self._next_chunk = start
        elif length is None:
            self._end = start
        else:
            self.body_refused = len(length[1]) > 9 or int(length[1]) > BODY_MAX_OCTETS
            self._end = start if self.body_refused else start + int(length[1])
        self._expects = self._end != start and _EXPECT.search(head) is not None

    def _find_last_chunk(self, position: int) -> None:
        while (line_end := self._octets.find(b"\r\n", position)) >= 0:
            size = _chunk_size(self._octets[position:line_end])
            if size is None:
                self._end = len(self._octets)  # no chunk: the parser's to refuse
                return
            if size == 0:
                trailer_end = self._octets.find(b"\r\n\r\n", line_end)
                self._end = trailer_end + 4 if trailer_end >= 0 else None
                break
            position = line_end + 2 + size + 2
            self._next_chunk = position
        if self._end is None and len(self._octets) - (self._head_end or 0) > CHUNKED_MAX_OCTETS:
            self.body_refused = True
            self._end = len(self._octets)


def _chunk_size(line: bytearray) -> int | None:
    if len(line) > _CHUNK_LINE_MAX_OCTETS:
        return None
    digits = bytes(line).split(b";")[0].strip()
    return int(digits, 16) if _HEX.fullmatch(digits) else None
