"""Loopback ports that lead to services of a cluster of the user's own, through its API server, as kubectl does it.

    python -m sandbox.cluster.forward KUBECONFIG CONTEXT CONTROL

CONTROL is the descriptor of the socket on which listening sockets are handed over, as `sandbox.cluster.control` says.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
from pathlib import Path
from typing import Any

from kubernetes import client
from kubernetes.client.exceptions import ApiException
from kubernetes.stream import portforward

from sandbox.cluster import control, objects
from sandbox.errors import NotUp

__all__ = ["Forwarder", "main"]

_CHUNK = 65536
_TIMEOUT_S = (3.0, 20.0)


class Forwarder:
    """Passes connections on to a ready pod of a service.

    Parameters
    ----------
    kubeconfig : Path
    context : str
    """

    def __init__(self, kubeconfig: Path, context: str) -> None:
        self._kubeconfig = kubeconfig
        self._context = context

    def __call__(self, to: list[Any], listener: socket.socket) -> None:
        """Serve a listening socket in threads of their own.

        Raises
        ------
        LookupError
            There is no such service.
        """
        if len(to) != 3:
            raise LookupError("in a cluster of your own only services can be reached")
        namespace, service, port = str(to[0]), str(to[1]), int(to[2])
        with objects.api(self._kubeconfig, self._context) as opened:
            self._port_name(client.CoreV1Api(opened), namespace, service, port)
        listener.setblocking(True)

        def serve() -> None:
            while True:
                near, _ = listener.accept()
                threading.Thread(target=self._pass_on, args=(near, namespace, service, port), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()

    def _port_name(self, core: client.CoreV1Api, namespace: str, service: str, port: int) -> str | None:
        """Name of a port of a service; ports of a service with one alone may have none."""
        try:
            found: Any = core.read_namespaced_service(service, namespace, _request_timeout=_TIMEOUT_S)
        except ApiException as problem:
            raise LookupError(f"no service {service} in {namespace}") from problem
        for one in found.spec.ports:
            if one.port == port:
                name: str | None = one.name
                return name
        raise LookupError(f"the service {service} in {namespace} has no port {port}")

    def _pod(self, core: client.CoreV1Api, namespace: str, service: str, port: int) -> tuple[str, int]:
        """A ready pod behind a service, and the pod's own port."""
        name = self._port_name(core, namespace, service, port)
        endpoints: Any = core.read_namespaced_endpoints(service, namespace, _request_timeout=_TIMEOUT_S)
        for subset in endpoints.subsets or []:
            own = next((one.port for one in subset.ports or [] if one.name == name), None)
            for address in subset.addresses or []:
                if own is not None and address.target_ref is not None:
                    return address.target_ref.name, own
        raise LookupError(f"no pod behind port {port} of service {service} in {namespace} is ready")

    def _pass_on(self, near: socket.socket, namespace: str, service: str, port: int) -> None:
        with (
            contextlib.suppress(OSError, LookupError, ApiException, NotUp),
            near,
            objects.api(self._kubeconfig, self._context) as opened,
        ):
            core = client.CoreV1Api(opened)
            pod, own = self._pod(core, namespace, service, port)
            forwarded: Any = portforward(core.connect_get_namespaced_pod_portforward, pod, namespace, ports=str(own))
            far = forwarded.socket(own)
            far.setblocking(True)
            threading.Thread(target=_pump, args=(near, far), daemon=True).start()
            _pump(far, near)
            forwarded.close()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    """Copy one direction until its end, and pass the end on."""
    with contextlib.suppress(OSError):
        while chunk := source.recv(_CHUNK):
            sink.sendall(chunk)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def main() -> None:
    """Serve until ended."""
    kubeconfig, context, number = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    with socket.socket(fileno=number) as listening:
        control.serve(listening, Forwarder(kubeconfig, context))


if __name__ == "__main__":
    main()
