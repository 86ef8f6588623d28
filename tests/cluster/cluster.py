"""A real Kubernetes API server of the tests' own, with CAs as kubeadm makes them, and the kubectl that asks it.

with Cluster(tmp_path / "cluster", programs) as cluster:
    admin = kubectl.with_kubeconfig(cluster.admin_kubeconfig)
    admin("create", "namespace", "shop")

It is etcd and kube-apiserver and nothing else: no node and no controller, so no pod runs. Everything
listens on the loopback address, on ports that were free.
"""

import http.client
import json
import os
import shutil
import ssl
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Self

from cluster.authorities import CA_KEYS, CertificateAuthority
from running_service import free_port

PROGRAMS: Final = ("etcd", "kube-apiserver")
START_SECONDS: Final = 90.0  # alone it takes 5; a shared machine is slow
STOP_SECONDS: Final = 10.0

# Linux kills what the tests had no time to stop: PR_SET_PDEATHSIG, SIGKILL (prctl(2)).
_LAUNCHER: Final = """
import ctypes, os, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 9)
os.execv(sys.argv[1], sys.argv[1:])
"""


@dataclass(frozen=True, kw_only=True)
class Kubectl:
    """The kubectl program with a home of its own: nobody's kubeconfig, nobody's cache."""

    program: Path
    home: Path
    kubeconfig: Path | None = None

    def with_kubeconfig(self, kubeconfig: Path) -> Self:
        """Give the same program as the user of a kubeconfig runs it."""
        return replace(self, kubeconfig=kubeconfig)

    def __call__(self, *arguments: str) -> str:
        """Run it and give what it prints; it must succeed."""
        ran = self.run(*arguments)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    def create(self, manifest: Mapping[str, Any], *arguments: str) -> Any:
        """Create an object and give it as the API server has it."""
        ran = self.run("create", "-f", "-", "-o", "json", *arguments, stdin=json.dumps(manifest))
        assert ran.returncode == 0, ran.stderr
        return json.loads(ran.stdout)

    def refused(self, *arguments: str) -> str:
        """Run it and give what it says of the refusal; it must fail."""
        ran = self.run(*arguments)
        assert ran.returncode == 1, ran.stdout
        return ran.stderr

    def run(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run it, whatever comes of it."""
        environment = {"HOME": str(self.home), "PATH": os.environ.get("PATH", os.defpath)}
        if self.kubeconfig is not None:
            environment["KUBECONFIG"] = str(self.kubeconfig)
        return subprocess.run(
            (self.program, *arguments),
            input=stdin,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )


class Cluster:
    """etcd and kube-apiserver with RBAC; `start` or `with` starts them, `stop` or the end of `with` stops them.

    `authorities` are the CAs whose client certificates it takes, by kind; all have one name, as while a
    CA is rotated. `ca` is the one that proves the API server itself too, as kubeadm's does. Further
    arguments are kube-apiserver's; one about authorization stands in place of RBAC.
    """

    def __init__(self, directory: Path, programs: Mapping[str, Path], *api_server_arguments: str) -> None:
        self.directory = directory
        self.port = free_port()
        self._etcd_url = f"http://127.0.0.1:{free_port()}"
        self.authorities = {kind: CertificateAuthority(directory / kind, kind) for kind in CA_KEYS}
        self.ca = self.authorities["rsa"]
        self.admin_kubeconfig = directory / "admin.kubeconfig"
        self._admin_pair = self.ca.client_pair(directory / "admin", "/O=system:masters/CN=kubernetes-admin")
        self._server_pair = self.ca.server_pair(directory / "server", "kube-apiserver")
        self._programs = programs
        self._arguments = api_server_arguments
        self._processes: list[subprocess.Popen[bytes]] = []  # in the order of their start

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.stop()

    @property
    def url(self) -> str:
        """Where the API server is."""
        return f"https://127.0.0.1:{self.port}"

    def start(self) -> Self:
        """Start and wait until the API server is ready, its own RBAC rules in place.

        Raises:
            RuntimeError: it ended, or is not ready in time; the message holds the end of the logs.
        """
        assert not self._processes, "started twice"
        self._write_admin_kubeconfig()
        try:
            self._run("etcd", *self._etcd_arguments())
            self._start_api_server()
        except BaseException:  # an interrupt leaves nothing running either
            self.stop()
            raise
        return self

    def restart_api_server(self) -> None:
        """Stop kube-apiserver alone and start it anew, with nothing in its memory; etcd keeps every object."""
        self._end_last()
        try:
            self._start_api_server()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop what was started, last first, and remove etcd's files; the logs stay."""
        while self._processes:
            self._end_last()
        shutil.rmtree(self.directory / "etcd", ignore_errors=True)

    def _start_api_server(self) -> None:
        self._run("kube-apiserver", *self._api_server_arguments(), *self._arguments)
        self._wait_until_ready()

    def _end_last(self) -> None:
        process = self._processes[-1]
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._processes.pop()

    def _run(self, name: str, *arguments: str) -> None:
        with self._log_file(name).open("ab") as log:
            process = subprocess.Popen(
                (sys.executable, "-c", _LAUNCHER, self._programs[name], *arguments),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                env={"HOME": str(self.directory)},  # nothing from outside configures them
                start_new_session=True,  # Ctrl-C reaches the tests alone, and they stop these in order
            )
        self._processes.append(process)

    def _etcd_arguments(self) -> tuple[str, ...]:
        peer_url = f"http://127.0.0.1:{free_port()}"
        return (
            f"--data-dir={self.directory / 'etcd'}",
            f"--listen-client-urls={self._etcd_url}",
            f"--advertise-client-urls={self._etcd_url}",
            f"--listen-peer-urls={peer_url}",
            f"--initial-advertise-peer-urls={peer_url}",
            f"--initial-cluster=default={peer_url}",
        )

    def _api_server_arguments(self) -> tuple[str, ...]:
        bundle = self.directory / "client-ca.crt"
        bundle.write_bytes(b"".join(ca.certificate_file.read_bytes() for ca in self.authorities.values()))
        certificate_file, key_file = self._server_pair
        has_authorization = any(argument.startswith("--authorization-") for argument in self._arguments)
        return (
            f"--etcd-servers={self._etcd_url}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self.port}",
            f"--tls-cert-file={certificate_file}",
            f"--tls-private-key-file={key_file}",
            f"--client-ca-file={bundle}",
            f"--service-account-key-file={key_file}",
            f"--service-account-signing-key-file={key_file}",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--disable-admission-plugins=ServiceAccount",  # no controller makes service accounts here
            *(() if has_authorization else ("--authorization-mode=RBAC",)),
        )

    def _write_admin_kubeconfig(self) -> None:
        certificate_file, key_file = map(str, self._admin_pair)
        cluster = {"server": self.url, "certificate-authority": str(self.ca.certificate_file)}
        user = {"client-certificate": certificate_file, "client-key": key_file}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "lab", "cluster": cluster}],
            "users": [{"name": "admin", "user": user}],
            "contexts": [{"name": "admin@lab", "context": {"cluster": "lab", "user": "admin"}}],
            "current-context": "admin@lab",
        }
        self.admin_kubeconfig.write_text(json.dumps(document))

    def _wait_until_ready(self) -> None:
        context = ssl.create_default_context(cafile=str(self.ca.certificate_file))
        context.load_cert_chain(*self._admin_pair)
        deadline = time.monotonic() + START_SECONDS
        while not self._is_ready(context):
            if any(process.poll() is not None for process in self._processes):
                raise RuntimeError(f"the cluster ended:\n{self._logs()}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"the cluster was not ready in {START_SECONDS} s:\n{self._logs()}")
            time.sleep(0.1)

    def _is_ready(self, context: ssl.SSLContext) -> bool:
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=5, context=context)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False  # no socket yet
        finally:
            connection.close()

    def _log_file(self, name: str) -> Path:
        return self.directory / f"{name}.log"

    def _logs(self) -> str:
        files = filter(Path.exists, map(self._log_file, PROGRAMS))
        tails = ((file.name, file.read_text(errors="replace").splitlines()[-15:]) for file in files)
        return "\n".join(f"{name}: {line}" for name, lines in tails for line in lines)
