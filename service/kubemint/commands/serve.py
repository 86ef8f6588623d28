"""`kubemint serve`: check everything, then serve until told to stop."""

import os
import shutil
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import click

from kubemint import config
from kubemint.errors import ConfigurationError, KubemintError
from kubemint.policy.warnings import policy_warnings


@click.command()
@click.option("--config", "file", type=click.Path(path_type=Path), help="Configuration file [default: found].")
def serve(file: Path | None) -> None:
    """Serve the API.

    The configuration is --config, else KUBEMINT_CONFIG, else .kubemint/kubemint.yaml, else
    /etc/kubemint/kubemint.yaml. Nothing is served unless the configuration, the policy, the CA
    and the ledger are all in order.
    """
    run(config.load(config.find_config(file)))


def run(settings: config.Config, greet: Callable[[], None] = lambda: None) -> None:
    """Serve with these settings; returns when the service has stopped. `greet` is called when all is in order."""
    _check_in_a_child(settings)
    greet()
    from kubemint.web.metrics_directory import share_metrics  # noqa: PLC0415 - before prometheus_client is imported

    directory, process = share_metrics(), os.getpid()
    try:
        from kubemint.web.gunicorn import Server  # noqa: PLC0415 - after the directory is made

        Server(settings).run()
    finally:
        if os.getpid() == process:  # a forked worker leaves by this way too, and the others still count there
            shutil.rmtree(directory, ignore_errors=True)


def _check_in_a_child(settings: config.Config) -> None:
    """Find out whether the service can start, where no key or connection outlives the question.

    Workers are forked from this process: what was opened here would be shared by all of them.
    """
    child = os.fork()
    if child == 0:
        os._exit(_check(settings))
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0:
        sys.exit(1)


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


def _check(settings: config.Config) -> int:
    from kubemint.web.gunicorn import tls_context  # noqa: PLC0415 - in the child alone
    from kubemint.wiring import load_policy_of, prepare  # noqa: PLC0415 - in the child alone

    try:
        for path, warning in policy_warnings(load_policy_of(settings)):
            click.echo(f"kubemint: warning: {path}: {warning}", err=True)
        prepare(settings)
        if settings.server.tls is not None:
            tls_context(settings.server.tls, settings)
        check_address(settings.server)
    except KubemintError as fault:
        click.echo(f"kubemint: {fault.message}", err=True)
        return 1
    return 0
