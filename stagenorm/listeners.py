"""Which process listens on a TCP port of this machine.

granian sets SO_REUSEPORT, because its workers share a port. The kernel therefore also admits a
second server of the same account, and spreads the requests over both. A server asks this module
before it listens, and refuses to start beside another one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

import psutil

WILDCARDS: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 (compared, never bound)
COMMAND_WORDS: Final = 8  # of a command line; enough to recognize it


@dataclass(frozen=True, slots=True)
class PortOwner:
    """The process that listens on a port. `pid` is None where this account may not see it."""

    port: int
    pid: int | None
    command: str = ""

    def __str__(self) -> str:
        if self.pid is None:
            return "a process of another account or container"
        return f"process {self.pid} ({self.command})" if self.command else f"process {self.pid}"

    @property
    def remedy(self) -> str:
        """How to end it, as the end of a sentence."""
        return "end it" if self.pid is None else f"end it with `kill {self.pid}`"


def port_owner(host: str, port: int, besides: Collection[int] = ()) -> PortOwner | None:
    """Return the process that listens on `port` of `host`, or None.

    Processes with an id in `besides` are left out. A listener on all addresses of the machine
    counts for each of them. Of several processes the one is returned that started them.
    """
    for each in psutil.net_connections("tcp"):
        local = each.laddr
        if each.status != psutil.CONN_LISTEN or not local or local.port != port:
            continue
        overlap = local.ip == host or WILDCARDS & {local.ip, host}
        if overlap and each.pid not in besides:
            return _described(port, each.pid)
    return None


def family(pid: int) -> frozenset[int]:
    """Return the ids of a server and of its child processes."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return frozenset({pid, *(each.pid for each in psutil.Process(pid).children())})
    return frozenset({pid})


def granian_address(arguments: Sequence[str]) -> tuple[str, int] | None:
    """Return host and port of a command line of granian, or None for a Unix socket.

    Reads the variables GRANIAN_HOST and GRANIAN_PORT as granian does.
    """
    from granian.cli import cli

    given = cli.make_context(
        "granian", list(arguments), auto_envvar_prefix="GRANIAN", resilient_parsing=True
    ).params
    if given.get("uds"):
        return None
    return str(given["host"]), int(given["port"])


def _described(port: int, pid: int | None) -> PortOwner:
    """Describe the process, or the server that started it and shares its command line."""
    if pid is None:
        return PortOwner(port, None)
    try:
        process = psutil.Process(pid)
        line = process.cmdline()
        parent = process.parent()
        if parent is not None and parent.cmdline() == line:
            pid = parent.pid
    except psutil.Error:  # it has ended, or belongs to another account
        return PortOwner(port, pid)
    return PortOwner(port, pid, " ".join(line[:COMMAND_WORDS]))
