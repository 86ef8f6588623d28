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

# How `openssl` makes the key of each CA, in the format that kubeadm writes: PKCS#1, SEC 1.
_CA_KEYS: Final = {
    "rsa": ("genrsa", "-traditional"),
    "rsa-serial-0": ("genrsa", "-traditional"),
    "p256": ("ecparam", "-name", "prime256v1", "-genkey", "-noout"),
    "ed25519": ("genpkey", "-algorithm", "ed25519"),
}
_CA_EXTENSIONS: Final = (
    "basicConstraints=critical,CA:TRUE",
    "keyUsage=critical,digitalSignature,keyEncipherment,keyCertSign",
    "subjectKeyIdentifier=hash",
    "subjectAltName=DNS:kubernetes",
)


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


class CertificateAuthority:
    """A CA in two files with what kubeadm writes into `ca.crt` (client-go, `NewSelfSignedCACert`).

    The kind `rsa-serial-0` is that of a cluster begun before Kubernetes 1.28 (kubernetes#117791).
    """

    def __init__(self, folder: Path, kind: str = "rsa") -> None:
        folder.mkdir(parents=True)
        self.certificate_file, self.key_file = self.files = folder / "ca.crt", folder / "ca.key"
        serial = ("-set_serial", "0") if kind == "rsa-serial-0" else ()
        openssl(*_CA_KEYS[kind], "-out", str(self.key_file))
        self._certify(*self.files, "/CN=kubernetes", 3650, _CA_EXTENSIONS, *serial)

    def intermediate(self, folder: Path) -> tuple[Path, Path]:
        """Make a CA under this one; its certificate's file goes on with this one's."""
        files = self._issue(folder, "/CN=kubernetes-clients", *_CA_EXTENSIONS)
        files[0].write_bytes(files[0].read_bytes() + self.certificate_file.read_bytes())
        return files

    def server_pair(self, folder: Path, name: str) -> tuple[Path, Path]:
        """Make a server's certificate for this machine, and its key."""
        hosts = "subjectAltName=DNS:localhost,IP:127.0.0.1"
        return self._issue(folder, f"/CN={name}", "extendedKeyUsage=serverAuth", hosts)

    def client_pair(self, folder: Path, subject: str) -> tuple[Path, Path]:
        """Make a client's certificate and its key, as an administrator does by hand."""
        return self._issue(folder, subject, "extendedKeyUsage=clientAuth")

    def _issue(self, folder: Path, subject: str, *extensions: str) -> tuple[Path, Path]:
        folder.mkdir(parents=True)
        files = folder / "tls.crt", folder / "tls.key"
        openssl(*_CA_KEYS["p256"], "-out", str(files[1]))
        issuer = ("-CA", str(self.certificate_file), "-CAkey", str(self.key_file))
        self._certify(*files, subject, 2, extensions, *issuer)
        return files

    def _certify(
        self, file: Path, key_file: Path, subject: str, days: int, extensions: tuple[str, ...], *options: str
    ) -> None:
        configuration = self.key_file.with_name("openssl.cnf")  # openssl's own would add extensions
        configuration.write_text("[req]\ndistinguished_name = name\n[name]\n")
        added = [argument for extension in extensions for argument in ("-addext", extension)]
        command = ("req", "-x509", "-new", "-config", str(configuration), "-key", str(key_file), "-out", str(file))
        openssl(*command, "-subj", subject, "-days", str(days), *added, *options)


class Cluster:
    """etcd and kube-apiserver with RBAC; `start` or `with` starts them, `stop` or the end of `with` stops them.

    `authorities` are the CAs whose client certificates it takes, by kind; all have one name, as while a
    CA is rotated. `ca` is the one that proves the API server itself too, as kubeadm's does. Further
    arguments are kube-apiserver's; one about authorization stands in place of RBAC.
    """

    def __init__(self, directory: Path, programs: Mapping[str, Path], *api_server_arguments: str) -> None:
        self.directory = directory
        self.port = free_port()
        self.authorities = {kind: CertificateAuthority(directory / kind, kind) for kind in _CA_KEYS}
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
            etcd_url = f"http://127.0.0.1:{free_port()}"
            self._run("etcd", *self._etcd_arguments(etcd_url))
            self._run("kube-apiserver", *self._api_server_arguments(etcd_url), *self._arguments)
            self._wait_until_ready()
        except BaseException:  # an interrupt leaves nothing running either
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop what was started, last first, and remove etcd's files; the logs stay."""
        while self._processes:
            process = self._processes[-1]
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            self._processes.pop()
        shutil.rmtree(self.directory / "etcd", ignore_errors=True)

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

    def _etcd_arguments(self, client_url: str) -> tuple[str, ...]:
        peer_url = f"http://127.0.0.1:{free_port()}"
        return (
            f"--data-dir={self.directory / 'etcd'}",
            f"--listen-client-urls={client_url}",
            f"--advertise-client-urls={client_url}",
            f"--listen-peer-urls={peer_url}",
            f"--initial-advertise-peer-urls={peer_url}",
            f"--initial-cluster=default={peer_url}",
        )

    def _api_server_arguments(self, etcd_url: str) -> tuple[str, ...]:
        bundle = self.directory / "client-ca.crt"
        bundle.write_bytes(b"".join(ca.certificate_file.read_bytes() for ca in self.authorities.values()))
        certificate_file, key_file = self._server_pair
        has_authorization = any(argument.startswith("--authorization-") for argument in self._arguments)
        return (
            f"--etcd-servers={etcd_url}",
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


def openssl(*arguments: str) -> None:
    """Run openssl; it must succeed."""
    ran = subprocess.run(("openssl", *arguments), capture_output=True, text=True, check=False, timeout=60)
    assert ran.returncode == 0, ran.stderr
