"""`kubemint serve`: check everything, then serve until told to stop."""

import json
import os
import shutil
import socket
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

from kubemint import config
from kubemint.commands.config_option import config_option
from kubemint.commands.policy_notes import warn_of_policy
from kubemint.errors import ConfigurationError, KubemintError


@click.command()
@config_option("Configuration of the service")
def serve(config_file: Path | None) -> None:
    """Serve the API.

    Nothing is served unless the configuration, the policy, the CA and the ledger are all in order. A line on
    standard error says when it is, and what is served.

    \b
    kubemint serve --config /etc/kubemint/kubemint.yaml
    """
    run(config.load(config.find_config(config_file)))


def run(settings: config.Config, greet: Callable[[], None] = lambda: None) -> None:
    """Serve with these settings; returns when the service has stopped. `greet` is called when all is in order."""
    told = _check_in_a_child(settings)
    greet()
    from kubemint.web.metrics_directory import share_metrics  # noqa: PLC0415 - before prometheus_client is imported

    directory, process = share_metrics(), os.getpid()
    try:
        from kubemint.web.gunicorn import Server  # noqa: PLC0415 - after the directory is made

        Server(settings, told).run()
    finally:
        if os.getpid() == process:  # a forked worker leaves by this way too, and the others still count there
            shutil.rmtree(directory, ignore_errors=True)


def _check_in_a_child(settings: config.Config) -> dict[str, Any]:
    """Find out whether the service can start, where no key or connection outlives the question; gives what starts.

    Workers are forked from this process: what was opened here would be shared by all of them.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        os._exit(_check(settings, writing))
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        told = stream.read()
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0:
        sys.exit(1)
    starting: dict[str, Any] = json.loads(told)
    return starting


def check_address(server: config.Server, hint: str = "") -> None:
    """Find out whether the address can be listened on.

    Raises:
        ConfigurationError: it cannot; the message ends with `hint`.
    """
    family = socket.AF_INET6 if ":" in server.host else socket.AF_INET
    try:
        socket.create_server((server.host, server.port), family=family).close()
    except OSError as fault:
        cause = str(fault.strerror).partition(" (")[0]  # Python adds the address, in its own notation
        problem = f"{server.host}:{server.port} cannot be listened on: {cause}{hint}"
        raise ConfigurationError("server.listen", [problem]) from None


def _check(settings: config.Config, told: int) -> int:
    """Check all, and write to the descriptor `told` what is served: a JSON object."""
    from kubemint.web.gunicorn import tls_context  # noqa: PLC0415 - in the child alone
    from kubemint.wiring import load_policy_of, prepare  # noqa: PLC0415 - in the child alone

    try:
        warn_of_policy(policy := load_policy_of(settings))
        prepare(settings)
        if settings.server.tls is not None:
            tls_context(settings.server.tls, settings)
        check_address(settings.server)
        with os.fdopen(told, "w") as stream:
            json.dump(_what_starts(settings, policy.version), stream)
    except KubemintError as fault:
        click.echo(f"kubemint: {fault.message}", err=True)
        return 1
    return 0


def _what_starts(settings: config.Config, policy_version: str) -> dict[str, Any]:
    """Tell what is about to be served, as the line has it that is logged when it is."""
    from kubemint.ledger.log import LedgerLog  # noqa: PLC0415 - in the child alone
    from kubemint.record import rfc3339  # noqa: PLC0415 - in the child alone
    from kubemint.signing.pem import load_certificates  # noqa: PLC0415 - in the child alone
    from kubemint.wiring import log_keys_of, store_of  # noqa: PLC0415 - in the child alone

    engine = store_of(settings).for_reading(1)
    try:
        size = LedgerLog(engine, log_keys_of(settings)).head()[1].size
    finally:
        engine.dispose()
    authority = load_certificates(settings.issuer.certificate_file)[0]
    server = settings.server
    host = f"[{server.host}]" if ":" in server.host else server.host
    return {
        "version": version("kubemint"),
        "address": f"{'http' if server.tls is None else 'https'}://{host}:{server.port}",
        "ca": authority.subject.rfc4514_string(),
        "caExpires": rfc3339(authority.not_valid_after_utc),
        "policy": policy_version,
        "ledgerSize": size,
    }
