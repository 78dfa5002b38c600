"""Services: names, addresses, and connections passed on to the pods that are ready.

What it is: ``Services`` reads Services and EndpointSlices as kube-proxy does, listens on every Service's address (all
of them are this machine's) and passes a connection on to one of the endpoints. Names stand in one hosts file that all
containers see.
Belongs here: what a Service means for a connection. Does not belong here: NetworkPolicies, which nothing here enforces.
"""

import itertools
import select
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from kube import Kube, Object

PIECE = 1 << 16
Place = tuple[str, int]


@dataclass
class Services:
    """The Services of all namespaces.

    Args:
        kube: the administrator's account.
        hosts: file that the names are written to.
        outside: further names, for what is outside the cluster, with their addresses.
    """

    kube: Kube
    hosts: Path
    outside: dict[str, str] = field(default_factory=dict)
    _forwards: dict[Place, "Forward"] = field(default_factory=dict)

    def look(self) -> None:
        """Learn of new Services and of what has become ready."""
        lines = ["127.0.0.1 localhost", *(f"{address} {name}" for name, address in self.outside.items())]
        slices = self.kube.items("/apis/discovery.k8s.io/v1/endpointslices")
        for service in self.kube.items("/api/v1/services"):
            address = service["spec"].get("clusterIP", "None")
            if address == "None":
                continue
            name, namespace = service["metadata"]["name"], service["metadata"]["namespace"]
            full = f"{name}.{namespace}.svc"
            lines.append(f"{address} {name} {name}.{namespace} {full} {full}.cluster.local")
            own = [
                one
                for one in slices
                if one["metadata"]["namespace"] == namespace
                and one["metadata"].get("labels", {}).get("kubernetes.io/service-name") == name
            ]
            for port in service["spec"]["ports"]:
                place = (address, port["port"])
                if place not in self._forwards:
                    self._forwards[place] = Forward(place)
                self._forwards[place].lead_to(list(_ready(own, port.get("name", ""))))
        text = "\n".join(lines) + "\n"
        if not self.hosts.exists() or self.hosts.read_text() != text:
            # In place: the containers see this very file.
            self.hosts.write_text(text)

    def stop(self) -> None:
        """Pass nothing on any longer."""
        for forward in self._forwards.values():
            forward.stop()


class Forward:
    """Passes connections to an address on to one of the places it leads to.

    Args:
        place: address and port to listen on.
    """

    def __init__(self, place: Place) -> None:
        self._targets: Sequence[Place] = ()
        self._turn = itertools.count()
        self._listener = socket.create_server(place)
        threading.Thread(target=self._accept, name=f"forward-{place[0]}:{place[1]}", daemon=True).start()

    def lead_to(self, targets: Sequence[Place]) -> None:
        """From now on to these, in turn; with none, connections are closed at once."""
        self._targets = targets

    def stop(self) -> None:
        """Take no further connection."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):  # the listener was closed
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._pass_on, args=(client, self._targets), daemon=True).start()

    def _pass_on(self, client: socket.socket, targets: Sequence[Place]) -> None:
        with client, suppress(OSError):
            if not targets:
                return
            with socket.create_connection(targets[next(self._turn) % len(targets)]) as server:
                _exchange(client, server)


def _exchange(client: socket.socket, server: socket.socket) -> None:
    other = {client: server, server: client}
    while other:
        ready, _, _ = select.select(list(other), [], [])
        for side in ready:
            piece = side.recv(PIECE)
            if piece:
                (server if side is client else client).sendall(piece)
            else:
                # The other direction may still have something to say.
                other.pop(side).shutdown(socket.SHUT_WR)


def _ready(slices: Sequence[Object], name: str) -> Iterator[Place]:
    for one in slices:
        ports = [port["port"] for port in one.get("ports") or () if port.get("name", "") == name]
        for endpoint in one.get("endpoints") or ():
            if endpoint.get("conditions", {}).get("ready", True):
                yield from ((address, port) for address in endpoint["addresses"] for port in ports)
