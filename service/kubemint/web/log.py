"""GET /v1/log: the ledger as a log that others keep a copy of and check (C2SP tlog-tiles).

What is below `tile/` never changes, and caches are told so; an address that the log has not reached has
nothing yet. The two proofs are for who asks about one entry, or two sizes, and would not compute.
"""

import gzip
import re
from typing import Any, Final

from flask import Blueprint, Response, request
from werkzeug.exceptions import NotFound as NoSuchPath

from kubemint.errors import InvalidProof, NotFound, NotPermitted
from kubemint.requester import Requester
from kubemint.transparency.checkpoint import Checkpoint, note_text, parse_checkpoint
from kubemint.transparency.notation import encode_base64
from kubemint.transparency.tiles import Tile, parse_tile_index
from kubemint.web.certificates import find_certificate
from kubemint.web.request_context import current_requester, current_service
from kubemint.web.responses import Answer, json_response
from kubemint.web.schemas import ConsistencyQuerySchema, InclusionQuerySchema
from kubemint.web.submissions import query_of
from kubemint.web.turns import Turns

blueprint: Final = Blueprint("log", __name__)

_INCLUSION: Final = InclusionQuerySchema()
_CONSISTENCY: Final = ConsistencyQuerySchema()
_LEVEL: Final = re.compile(r"[0-9]|[1-5][0-9]|6[0-3]", re.ASCII)  # tlog-tiles: 0 to 63, no leading zeroes
_MAX_AGE_SECONDS: Final = 31_536_000  # a year; RFC 8246 says that what is immutable is not asked for anew
_BUNDLES: Final = Turns(places=2, wait_seconds=0.5)  # each may have 16 MiB, and everybody may ask
_GZIP_LEVEL: Final = 1  # most of a bundle is base64, of which more work makes nothing smaller


@blueprint.get("/v1/log/checkpoint")
def checkpoint() -> Response:
    """Give how large the log is and what its root is, signed."""
    _check_reader()
    return Response(current_service().log.checkpoint(), 200, mimetype="text/plain")


@blueprint.get("/v1/log/tile/entries/<path:place>")
def entries(place: str) -> Response:
    """Give the entries whose hashes a tile of level 0 has."""
    _check_reader()
    index, width = _index_and_width(place)
    with _BUNDLES.turn():
        response = _immutable(current_service().log.bundle(index, width))
        response.headers["Vary"] = "Accept-Encoding"
        if request.accept_encodings.quality("gzip") > 0:
            response.set_data(gzip.compress(response.get_data(), _GZIP_LEVEL, mtime=0))
            response.headers["Content-Encoding"] = "gzip"
        return response


@blueprint.get("/v1/log/tile/<level>/<path:place>")
def tile(level: str, place: str) -> Response:
    """Give hashes of one level of the tree."""
    _check_reader()
    if not _LEVEL.fullmatch(level):
        raise NoSuchPath
    index, width = _index_and_width(place)
    return _immutable(current_service().log.tile(Tile(int(level), index, width)))


@blueprint.get("/v1/log/inclusion")
def inclusion() -> Response:
    """Prove that an entry is in the log; who holds a certificate may ask about its own."""
    service = current_service()
    viewer = None if service.log_is_public else current_requester()
    query = query_of(_INCLUSION)
    index = _entry_index(query, viewer)
    note, newest_size = _newest()
    leaf, proof, tree = service.log.inclusion(index, query.get("size", newest_size))
    body = {
        "logIndex": index,
        "leafHash": encode_base64(leaf),
        "size": tree.size,
        "rootHash": encode_base64(tree.root),
        "hashes": [encode_base64(hashed) for hashed in proof],
    }
    return json_response(body | _signed(tree, note, newest_size))


@blueprint.get("/v1/log/consistency")
def consistency() -> Response:
    """Prove that the log of one size begins with the log of another: nothing was changed or taken away."""
    _check_reader()
    query = query_of(_CONSISTENCY)
    note, newest_size = _newest()
    new_size = query.get("new_size", newest_size)
    proof, old, new = current_service().log.consistency(query["old_size"], new_size)
    body = {
        "from": {"size": old.size, "rootHash": encode_base64(old.root)},
        "to": {"size": new.size, "rootHash": encode_base64(new.root)},
        "hashes": [encode_base64(hashed) for hashed in proof],
    }
    return json_response(body | _signed(new, note, newest_size))


def _check_reader() -> None:
    """Let everybody read a public log, and auditors and operators any."""
    if not current_service().log_is_public:
        _check_role(current_requester())


def _check_role(requester: Requester) -> None:
    if not current_service().policy.roles.may_read_the_log(requester):
        raise NotPermitted("Only auditors and operators may read the log.")


def _entry_index(query: dict[str, Any], viewer: Requester | None) -> int:
    """Find the entry that a query is about; a viewer of None is everybody."""
    if "index" not in query:
        return find_certificate(query.get("serial_number") or query["credential_id"], viewer).index
    if viewer is not None:
        _check_role(viewer)
    index: int = query["index"]
    return index


def _newest() -> tuple[str, int]:
    """Give the newest checkpoint and its size."""
    note = current_service().log.checkpoint()
    return note, parse_checkpoint(note_text(note)).size


def _signed(tree: Checkpoint, note: str, newest_size: int) -> dict[str, str]:
    return {"checkpoint": note} if tree.size == newest_size else {}


def _index_and_width(unverified_place: str) -> tuple[int, int]:
    try:
        return parse_tile_index(unverified_place)
    except InvalidProof:
        raise NoSuchPath from None


def _immutable(octets: bytes | None) -> Response:
    if octets is None:
        raise NotFound("The log has not grown so far.")
    response = Answer(octets, 200, mimetype="application/octet-stream")
    who = "public" if current_service().log_is_public else "private"
    response.headers["Cache-Control"] = f"{who}, max-age={_MAX_AGE_SECONDS}, immutable"
    return response
