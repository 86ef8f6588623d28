"""The Flask application: routes, limits and error handlers around a `Service`."""

from collections.abc import Callable
from typing import Any

from flask import Flask

from kubemint.web import (
    authorize,
    certificates,
    decisions,
    documentation,
    health,
    information,
    log,
    requests,
    revocations,
    status,
)
from kubemint.web.arrival import BODY_MAX_OCTETS
from kubemint.web.problems import register_problem_handlers
from kubemint.web.request_context import register_request_context
from kubemint.wiring import Service


class Application(Flask):
    """Flask for views of which none is a coroutine."""

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Give the function as it is; Flask would look at four a request for a coroutine."""
        return func


def create_app(service: Service) -> Flask:
    """Build the application of one process."""
    app = Application("kubemint", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = BODY_MAX_OCTETS
    app.url_map.strict_slashes = True
    app.url_map.merge_slashes = False
    register_request_context(app, service)
    register_problem_handlers(app)
    for module in (
        certificates,
        requests,
        revocations,
        authorize,
        status,
        decisions,
        log,
        information,
        health,
        documentation,
    ):
        app.register_blueprint(module.blueprint)
    return app
