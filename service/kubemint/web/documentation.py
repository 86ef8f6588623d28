"""The contract, and a page to read it on. The page loads nothing from elsewhere and runs no inline script."""

import mimetypes
from importlib.resources import files
from typing import Final

from flask import Blueprint, Response
from werkzeug.exceptions import NotFound

blueprint: Final = Blueprint("documentation", __name__)

# Read once: what many clients fetch at the same time is the same octets in memory.
_ASSETS: Final = {
    file.name: file.read_bytes()
    for file in (files("kubemint.web") / "static").iterdir()
    if file.name.endswith((".html", ".js", ".css", ".md"))
}
_CONTRACT: Final = (files("kubemint.web") / "openapi.yaml").read_bytes()
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@blueprint.get("/openapi.yaml")
def openapi() -> Response:
    """Give the contract of this API."""
    return Response(_CONTRACT, mimetype="application/yaml")


@blueprint.get("/docs")
def docs() -> Response:
    """Show the contract as a page."""
    return _asset("docs.html")


@blueprint.get("/docs/<name>")
def asset(name: str) -> Response:
    """Give a part of the page."""
    return _asset(name)


def _asset(name: str) -> Response:
    if name not in _ASSETS:
        raise NotFound
    media_type = mimetypes.guess_type(name)[0]
    response = Response(_ASSETS[name], mimetype=media_type)
    response.headers["Content-Security-Policy"] = _POLICY
    response.headers["Cache-Control"] = "public, max-age=3600"
    response.headers["Referrer-Policy"] = "no-referrer"
    return response
