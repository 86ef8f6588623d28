"""The contract, and a page to read it on. The page loads nothing from elsewhere and runs no inline script."""

from importlib.resources import files
from typing import Final

from flask import Blueprint, Response, send_from_directory

blueprint: Final = Blueprint("documentation", __name__)

_ASSETS: Final = files("kubemint.web") / "static"
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


@blueprint.get("/docs/<path:name>")
def asset(name: str) -> Response:
    """Give a part of the page."""
    return _asset(name)


def _asset(name: str) -> Response:
    response = send_from_directory(str(_ASSETS), name)
    response.headers["Content-Security-Policy"] = _POLICY
    response.headers["Cache-Control"] = "public, max-age=3600"
    response.headers["Referrer-Policy"] = "no-referrer"
    return response
