"""The cluster's network, in a network namespace that reaches nothing but itself.

What it is: the machine's side (``prepare``: loopback, a bridge, the addresses of Services) and one pod's side
(``PodNetwork``: an address of its own, so that two pods may listen on the same port).
Belongs here: devices and addresses. Does not belong here: names and Services (services.py).
"""

import shutil
import subprocess
from pathlib import Path

NODE_ADDRESS = "192.0.2.10"
"""The machine as the cluster knows it: an address kept for documentation, given to the loopback device."""
SERVICE_ADDRESSES = "10.96.0.0/16"
POD_ADDRESSES = "10.244.0.{}/24"
GATEWAY = "10.244.0.1"
BRIDGE = "pods"


def prepare() -> None:
    """Set up the machine's side, in the network namespace that this process is alone in."""
    _ip("link", "set", "lo", "up")
    _ip("address", "add", f"{NODE_ADDRESS}/32", "dev", "lo")
    # Local, every one of them: what listens on a Service's address is found by pods and by this machine.
    _ip("route", "add", "local", SERVICE_ADDRESSES, "dev", "lo")
    _ip("link", "add", BRIDGE, "type", "bridge")
    _ip("address", "add", POD_ADDRESSES.format(1), "dev", BRIDGE)
    _ip("link", "set", BRIDGE, "up")


def is_private() -> bool:
    """Whether no route leads out of this network namespace: then nothing can leave the machine."""
    return len(Path("/proc/self/net/route").read_text().splitlines()) <= 1  # the heading


class PodNetwork:
    """One pod's network: a namespace that a waiting process holds, and a pair of devices that lead to it.

    Args:
        number: of the pod, from 2 to 254; the last part of its address.
    """

    def __init__(self, number: int) -> None:
        self.address = POD_ADDRESSES.format(number).partition("/")[0]
        self._device = f"pod{number}"
        self._holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"], stdin=subprocess.DEVNULL)
        self._wait_until_apart()
        holder = str(self._holder.pid)
        _ip("link", "add", self._device, "type", "veth", "peer", "name", "eth0", "netns", holder)
        _ip("link", "set", self._device, "master", BRIDGE, "up")
        for command in (
            ("link", "set", "lo", "up"),
            ("address", "add", POD_ADDRESSES.format(number), "dev", "eth0"),
            ("link", "set", "eth0", "up"),
            ("route", "add", "default", "via", GATEWAY),
        ):
            subprocess.run([*self.enter(), "ip", *command], check=True, capture_output=True)

    def enter(self) -> list[str]:
        """The beginning of a command that is to run in this network."""
        return [shutil.which("nsenter") or "nsenter", f"--net=/proc/{self._holder.pid}/ns/net", "--"]

    def close(self) -> None:
        """Remove it; the devices go with the namespace."""
        self._holder.kill()
        self._holder.wait()

    def _wait_until_apart(self) -> None:
        ours = Path("/proc/self/ns/net").readlink()
        while self._holder.poll() is None and Path(f"/proc/{self._holder.pid}/ns/net").readlink() == ours:
            pass


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
