"""The control plane: etcd, kube-apiserver, kube-controller-manager and kube-scheduler as processes of this machine.

What it is: ``control_plane`` starts them with keys of their own, and answers with an administrator's account. Nothing
of them is switched off but what needs more than one machine (election of a leader).
Belongs here: flags, keys, waiting until they answer. Does not belong here: nodes, releases, what is proven.
"""

import secrets
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from kube import Kube, Refused
from network import NODE_ADDRESS, SERVICE_ADDRESSES

API_PORT = 6443
READY_SECONDS = 120.0


class NotStarted(Exception):
    """A component ended, or did not answer in time; the text says which and shows the end of its log."""


@dataclass
class ControlPlane:
    """The components that run, by name.

    Args:
        program: .tools/bin/control-plane.
        folder: for data, keys and logs.
    """

    program: Path
    folder: Path
    processes: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    def start(self, name: str, *flags: str) -> None:
        """Start a component; its output goes to ``<name>.log``."""
        with (self.folder / f"{name}.log").open("ab") as output:
            self.processes[name] = subprocess.Popen(
                [self.program, name, *flags], stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=self.folder
            )

    def stop(self) -> None:
        """Kill all: their data goes too, so that nothing is worth an orderly end (which takes ten seconds)."""
        for process in self.processes.values():
            process.kill()
        for process in self.processes.values():
            process.wait()

    def check(self) -> None:
        """See that none has ended.

        Raises:
            NotStarted: one has.
        """
        for name, process in self.processes.items():
            if process.poll() is not None:
                end = (self.folder / f"{name}.log").read_text(errors="replace").splitlines()[-8:]
                raise NotStarted("\n".join([f"{name} ended with code {process.returncode}", *end]))


@contextmanager
def control_plane(program: Path, folder: Path) -> Iterator[Kube]:
    """A control plane for as long as the block; answers with the administrator's account.

    Raises:
        NotStarted: it does not come up.
    """
    folder.mkdir(parents=True)
    token = secrets.token_urlsafe(24)
    (folder / "tokens.csv").write_text(f'{token},administrator,administrator,"system:masters"\n')
    for command in (
        ["openssl", "genrsa", "-out", "accounts.key", "2048"],
        ["openssl", "rsa", "-in", "accounts.key", "-pubout", "-out", "accounts.pub"],
    ):
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
    kube = Kube(f"https://{NODE_ADDRESS}:{API_PORT}", folder / "keys" / "apiserver.crt", token)
    made = ControlPlane(program, folder)
    with ExitStack() as stack:
        stack.callback(made.stop)
        made.start("etcd", "--data-dir", str(folder / "etcd"))
        made.start(
            "kube-apiserver",
            "--etcd-servers=http://127.0.0.1:2379",
            f"--bind-address={NODE_ADDRESS}",
            f"--secure-port={API_PORT}",
            f"--advertise-address={NODE_ADDRESS}",
            f"--service-cluster-ip-range={SERVICE_ADDRESSES}",
            f"--cert-dir={folder / 'keys'}",
            "--authorization-mode=RBAC",
            f"--token-auth-file={folder / 'tokens.csv'}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={folder / 'accounts.pub'}",
            f"--service-account-signing-key-file={folder / 'accounts.key'}",
            "--kubelet-preferred-address-types=InternalIP",
        )
        _wait(made, kube)
        config = kube.kubeconfig(folder / "administrator.kubeconfig")
        common = (f"--kubeconfig={config}", "--leader-elect=false", "--bind-address=127.0.0.1")
        made.start(
            "kube-controller-manager",
            *common,
            f"--service-account-private-key-file={folder / 'accounts.key'}",
            f"--root-ca-file={kube.authority}",
            "--use-service-account-credentials",
        )
        made.start("kube-scheduler", *common)
        yield kube
        made.check()


def _wait(made: ControlPlane, kube: Kube) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while True:
        made.check()
        try:
            # The certificate is written by the API server; before it is there nothing can be asked.
            if kube.authority.exists() and kube.text("/readyz") == "ok":
                return
        except (httpx.TransportError, Refused):
            pass
        if time.monotonic() > deadline:
            raise NotStarted(f"kube-apiserver was not ready within {READY_SECONDS:.0f} s; its log is in {made.folder}")
        time.sleep(0.1)
