"""Serves one RSGI application in one process of its own, with tight limits, until it is told to end."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, Final

from granian import Granian
from granian.constants import Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels

from stagenorm.parent_death import end_worker_with_server

HEADER_MILLISECONDS: Final = 5000
HEADER_BYTES: Final = 16 * 1024
CONNECTIONS: Final = 128


def is_free(host: str, port: int) -> bool:
    """Whether nobody listens there; granian would share the port, and take some of what is meant for the other."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def serve(host: str, port: int, build: Callable[[], Any]) -> None:
    """Serve what `build` makes in the worker process. Requests under way end first; after 5 s they are cut off."""
    Granian(
        "relay",
        address=host,
        port=port,
        interface=Interfaces.RSGI,
        workers=1,
        respawn_failed_workers=True,
        workers_kill_timeout=5,
        backpressure=CONNECTIONS,
        http1_settings=HTTP1Settings(
            header_read_timeout=HEADER_MILLISECONDS, max_buffer_size=HEADER_BYTES
        ),
        websockets=False,
        log_level=LogLevels.warning,
    ).serve(target_loader=lambda *_: _in_worker(build))


def _in_worker(build: Callable[[], Any]) -> Any:
    end_worker_with_server()
    return build()
