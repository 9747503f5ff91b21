"""A TCP proxy that misbehaves as it is told: what networks and dying servers do to a client."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit

CHUNK = 65_536


class Toxic:
    """A proxy between a client and the server at `url`; its own `url` has the proxy's port.

    `toxic` applies to every byte once it is set: None, "black-hole" (accepts, never answers),
    "slow" (answers 200 ms late), "dribble" (a byte every 90 ms), "garbage" (an answer that is not
    Redis's), "refuse" (connections
    are reset).
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.port
        self._server = (parts.hostname, parts.port)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = int(self._listener.getsockname()[1])
        login = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
        self.url = urlunsplit(parts._replace(netloc=f"{login}127.0.0.1:{self.port}"))
        self.toxic: str | None = None
        self._over = threading.Event()  # set when the present toxic is
        self.accepted: list[float] = []
        self._links: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def set(self, toxic: str | None) -> None:
        """Be like this from now on. Connections that hang are given up when health returns."""
        self.toxic = toxic
        self._over.set()
        self._over = threading.Event()
        if toxic in (None, "refuse", "garbage"):
            self.cut()

    @contextlib.contextmanager
    def being(self, toxic: str) -> Iterator[None]:
        """Misbehave within the block."""
        self.set(toxic)
        try:
            yield
        finally:
            self.set(None)

    def cut(self) -> None:
        """Cut every connection that is open now; new ones may come."""
        links, self._links = self._links, []
        for link in links:  # the thread that serves a connection closes it
            with contextlib.suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.accepted.append(time.monotonic())
            self._links.append(client)
            threading.Thread(target=self._serve, args=[client], daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client:
            if self.toxic == "refuse":
                return
            try:
                server = socket.create_connection(self._server, 1)
            except OSError:
                return
            with server:
                self._links.append(server)
                requests = threading.Thread(
                    target=self._pump, args=[client, server, False], daemon=True
                )
                requests.start()
                self._pump(server, client, True)
                requests.join()

    def _pump(self, source: socket.socket, target: socket.socket, answers: bool) -> None:
        try:
            while data := source.recv(CHUNK):
                self._deliver(data, target, answers)
        except OSError:
            pass
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _deliver(self, data: bytes, target: socket.socket, answers: bool) -> None:
        toxic = self.toxic if answers else None
        if toxic == "black-hole":
            self._over.wait()
            raise OSError("what was held back is lost")
        if toxic == "slow":
            time.sleep(0.2)
        if toxic == "garbage":
            data = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 99999999999\r\n\r\n\x00\xff"
        if toxic == "dribble":
            for byte in data:
                time.sleep(0.09)
                target.sendall(bytes([byte]))
            return
        target.sendall(data)
