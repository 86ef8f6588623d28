"""gunicorn, run from a `Config`: processes, TLS, deadlines, metrics directory, graceful stop.

Everything that must not be shared between processes (keys, database connections) is opened in the
worker, after the fork.
"""

import atexit
import gc
import logging
import os
import ssl
import sys
import time
from collections.abc import Mapping
from typing import Any, Final

from cryptography.hazmat.primitives.serialization import Encoding
from gunicorn.app.base import BaseApplication
from prometheus_client import multiprocess

from kubemint.config import Config, Tls
from kubemint.errors import ConfigurationError, KubemintError
from kubemint.signing.pem import load_certificates
from kubemint.web import cores
from kubemint.web.app import create_app
from kubemint.web.logs import GunicornLogger, JsonFormatter, configure_logging
from kubemint.wiring import open_service

_NEXT_WORKER_SECONDS: Final = 0.5
_log = logging.getLogger(__name__)


class Server(BaseApplication):  # type: ignore[misc]  # gunicorn is untyped
    """The service as gunicorn runs it: `Server(config).run()` returns when it has stopped.

    `told` is what the line says that is logged when it listens.
    """

    def __init__(self, config: Config, told: Mapping[str, Any]) -> None:
        self._config = config
        self._told = told
        self._tls = None if config.server.tls is None else TlsContexts(config.server.tls, config)
        super().__init__(prog="kubemint")

    def load_config(self) -> None:
        """Keep `BaseApplication.load_config`."""
        for name, value in _settings(self._config, self._tls).items():
            self.cfg.set(name, value)
        self.cfg.set("when_ready", self._greet)
        self.cfg.timeout_of_request = self._config.server.request_timeout.total_seconds()
        if self.cfg.is_ssl:
            # Now, before any worker: one that starts while the files do not fit has this pair to serve with.
            # A reload asks the same contexts again, and such files stop it as little as a worker.
            self.cfg.ssl_context(self.cfg, None)

    def _greet(self, _arbiter: Any) -> None:
        """Log one line: what is served, and where. Loggers are configured in the workers alone."""
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(JsonFormatter())
        place = (_log.name, logging.INFO, __file__, 0)
        handler.handle(_log.makeRecord(*place, "serving", (), None, extra=dict(self._told)))

    def load(self) -> Any:
        """Open the service; called in each worker.

        A worker that cannot (the ledger is away, say, when it takes another's place) ends, and gunicorn starts
        the next one. What it raised would stop the workers that serve as well.
        """
        configure_logging()
        try:
            service = open_service(self._config)
        except KubemintError as fault:
            _log.error("a worker cannot begin yet", extra={"problem": fault.message})
            time.sleep(_NEXT_WORKER_SECONDS)
            sys.exit(os.EX_TEMPFAIL)
        atexit.register(service.close)  # gunicorn ends a worker with sys.exit, once its last answer is out
        app = create_app(service)
        gc.collect()
        gc.freeze()  # what is loaded now stays for good: the collector need not walk it while someone waits
        return app


def _settings(config: Config, contexts: "TlsContexts | None") -> dict[str, Any]:
    server = config.server
    settings: dict[str, Any] = {
        "bind": f"[{server.host}]:{server.port}" if ":" in server.host else f"{server.host}:{server.port}",
        "workers": server.workers,
        "threads": server.threads,
        "worker_class": "kubemint.web.worker.BufferingWorker",
        "preload_app": False,
        "timeout": 30,
        "graceful_timeout": int(server.shutdown_grace.total_seconds()),
        "keepalive": 30,
        "logger_class": GunicornLogger,
        "control_socket_disable": True,
        "http_parser": "python",
        "forwarded_allow_ips": "",  # no header of a client says where it is or how it came
        "worker_tmp_dir": "/dev/shm" if os.access("/dev/shm", os.W_OK) else None,  # noqa: S108 - heartbeat only
        "child_exit": _forget_gauges,
    }
    if server.pin_workers and hasattr(os, "sched_setaffinity"):  # Linux has it
        settings |= {"pre_fork": cores.choose_core, "post_fork": cores.stay_on_core}
    if server.tls is not None:
        settings |= {
            "certfile": str(server.tls.certificate_file),
            "keyfile": str(server.tls.key_file),
            "ssl_context": contexts,
            "do_handshake_on_connect": False,
        }
    return settings


def _forget_gauges(_: Any, worker: Any) -> None:
    multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]  # prometheus-client leaves it untyped


class TlsContexts:
    """gunicorn's hook for a connection's TLS context; files that change make a new one.

    Certificate and key are two files and are replaced one after the other. While they do not fit, the
    last good pair serves.
    """

    def __init__(self, tls: Tls, config: Config) -> None:
        self._tls = tls
        self._config = config
        self._modified: tuple[int, int] | None = None
        self._context: ssl.SSLContext | None = None

    def __call__(self, _settings: Any, _default: Any) -> ssl.SSLContext:
        """Give the context for a new connection."""
        try:
            modified = self._tls.certificate_file.stat().st_mtime_ns, self._tls.key_file.stat().st_mtime_ns
            if modified != self._modified:
                self._modified = modified
                self._context = tls_context(self._tls, self._config)
        except (OSError, ConfigurationError) as fault:
            _log.error("TLS files not loaded, the last good ones stay", extra={"problem": str(fault)})
        if self._context is None:
            raise OSError("no TLS certificate could be loaded yet")
        return self._context


def _no_passphrase(tls: Tls) -> str:
    """Refuse an encrypted key: OpenSSL would ask the terminal for its passphrase, and wait."""
    problem = (
        f"{tls.key_file} is encrypted, which server.tls cannot be; openssl pkey -in … -out … writes it in clear"
    )
    raise ConfigurationError("server.tls", [problem])


def tls_context(tls: Tls, config: Config) -> ssl.SSLContext:
    """Make the TLS context of the server.

    Raises:
        ConfigurationError: the certificate or key cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    context.verify_mode = ssl.CERT_NONE
    try:
        context.load_cert_chain(tls.certificate_file, tls.key_file, password=lambda: _no_passphrase(tls))
    except (OSError, ssl.SSLError) as fault:
        raise ConfigurationError("server.tls", [f"the certificate or key cannot be used: {fault}"]) from None
    trusted = [certificate for authority in config.client_authorities for certificate in authority.certificates]
    trusted += load_certificates(config.issuer.certificate_file)  # of those whom this service knows already
    pem = [certificate.public_bytes(Encoding.PEM).decode("ascii") for certificate in trusted]
    context.load_verify_locations(cadata="".join(pem))
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # each of them is trusted to issue, a root or not
    context.verify_mode = ssl.CERT_OPTIONAL  # those who have none show a token
    return context
