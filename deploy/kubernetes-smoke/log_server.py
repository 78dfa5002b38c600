"""Containers' logs, where the API server looks for them: what `kubectl logs`, `helm test --logs` and Dagster read.

Belongs here: the one address of a kubelet that the releases use. Does not belong here: writing the logs (pod_run.py).
"""

import ssl
import subprocess
import threading
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from network import NODE_ADDRESS
from pod_run import PodRun

PORT = 10250


class LogServer:
    """Answers ``/containerLogs/<namespace>/<pod>/<container>``.

    Args:
        folder: for its certificate.
        pods: those that run here, asked at each request.
    """

    def __init__(self, folder: Path, pods: Callable[[], Sequence[PodRun]]) -> None:
        key, certificate = folder / "node.key", folder / "node.crt"
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=smoke"),
                *("-keyout", key, "-out", certificate),
            ],
            check=True,
            capture_output=True,
        )

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = self.path.partition("?")[0].strip("/").split("/")
                if len(parts) != 4 or parts[0] != "containerLogs":
                    self.send_error(404)
                    return
                runs = [run for run in pods() if (run.namespace, run.name) == (parts[1], parts[2])]
                text = runs[-1].log(parts[3]) if runs else b""
                self.send_response(200)
                self.send_header("Content-Type", "text/plain")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: object) -> None:
                """Nothing: requests are not what is looked at."""

        self._server = ThreadingHTTPServer((NODE_ADDRESS, PORT), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, name="logs")

    def start(self) -> None:
        """Answer from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Answer no longer."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
