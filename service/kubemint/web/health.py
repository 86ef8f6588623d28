"""Is it alive, can it work, what does it count: for probes and scrapers, without identity."""

import os
from typing import Final

from flask import Blueprint, Response
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from kubemint.web.metrics_directory import METRICS_VARIABLE
from kubemint.web.problems import problem
from kubemint.web.request_context import current_service
from kubemint.web.responses import json_response

blueprint: Final = Blueprint("health", __name__)


@blueprint.get("/livez")
def livez() -> Response:
    """Answer, which is all that being alive means."""
    return json_response({"status": "ok"})


@blueprint.get("/readyz")
def readyz() -> Response:
    """Say whether a certificate could be issued now: the key signs, and the ledger's disk takes a write."""
    fault = current_service().check_ready()
    if fault is None:
        return json_response({"status": "ok"})
    return problem(503, "not-ready", f"The service cannot issue certificates now: {fault}.")


@blueprint.get("/metrics")
def metrics() -> Response:
    """Give the metrics of all worker processes in Prometheus' text format."""
    registry = REGISTRY
    if METRICS_VARIABLE in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # prometheus-client leaves it untyped
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)
