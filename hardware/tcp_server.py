"""The TCP side that all protocol twins share: listen, serve each client in its own thread, close everything.

A twin speaks its vendor's protocol to unmodified clients, which connect to fixed ports of an address. Several
twins live side by side on one machine by listening on different loopback addresses (127.0.0.2, 127.0.0.3, ...;
Linux routes all of 127.0.0.0/8, macOS needs `ifconfig lo0 alias`).
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable

from robolearn.errors import BenchError

__all__ = ["TcpServer", "read_exactly"]


class TcpServer:
    """Listens on one port and runs `serve` in a daemon thread per client.

    Args:
        address: IPv4 address to listen on.
        port: TCP port; 0 takes any free one (see `port`).
        serve: Called with each accepted socket; returning or a broken connection ends that client.

    Raises:
        BenchError: The port is taken or not allowed; the message names it.
    """

    def __init__(self, address: str, port: int, serve: Callable[[socket.socket], None]):
        self._serve = serve
        self._clients: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind((address, port))
        except OSError as error:
            self._socket.close()
            raise BenchError(
                f"Cannot listen on {address}:{port}: {error.strerror}. Another twin or program may have the port "
                "(choose another loopback address such as 127.0.0.3), or it needs privileges (ports below 1024)."
            ) from error
        self._socket.listen(8)
        self.port: int = self._socket.getsockname()[1]
        threading.Thread(target=self._accept, name=f"twin-{port}", daemon=True).start()

    def drop_clients(self) -> None:
        """Cut every connection, as a pulled cable would; the server keeps listening."""
        with self._lock:
            clients = list(self._clients)
        for client in clients:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Stop listening and cut every connection; safe to call twice."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self.drop_clients()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return  # closed
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._clients.add(client)
            threading.Thread(target=self._run, args=(client,), name=f"twin-{self.port}-client", daemon=True).start()

    def _run(self, client: socket.socket) -> None:
        try:
            self._serve(client)
        except OSError:
            pass  # The client went away; its state dies with it.
        finally:
            with self._lock:
                self._clients.discard(client)
            client.close()


def read_exactly(client: socket.socket, count: int) -> bytes:
    """Exactly `count` bytes.

    Raises:
        ConnectionError: The other side closed before they came.
    """
    parts = bytearray()
    while len(parts) < count:
        part = client.recv(count - len(parts))
        if not part:
            raise ConnectionError(f"The connection closed after {len(parts)} of {count} bytes.")
        parts += part
    return bytes(parts)
