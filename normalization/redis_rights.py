"""What the account of REDIS_URL may do, found out at start without changing anything.

Managed and hardened servers often refuse commands: an ACL without channels or scripts, a renamed
command, a read replica. The rollout spreads by what is left. The system check names the rights
that are missing, and what is lost without them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from normalization.instances import REPORTS
from normalization.redis_link import link
from normalization.shared_copy import CHANNEL

if TYPE_CHECKING:
    from redis import Redis

KEY: Final = "stage:validation:mode"
KEYS: Final = "~stage:validation:*"

# Each runs as it is: it reads, or changes nothing.
HARMLESS: Final[tuple[tuple[str | int, ...], ...]] = (
    ("GETRANGE", KEY, 0, 0),
    ("EVAL", "return 1", 1, KEY),
    ("PUBLISH", CHANNEL, "{}"),
    ("TIME",),
    ("HGETALL", REPORTS),
    ("HDEL", REPORTS, ""),
    ("WATCH", KEY),
    ("MULTI",),
)
# Redis judges these when they are queued in the transaction, which is then discarded.
QUEUED: Final[tuple[tuple[str | int, ...], ...]] = (("SET", KEY, ""), ("HSET", REPORTS, "", ""))

TRANSACTION: Final = frozenset({"WATCH", "MULTI"})

# What is lost without one of the commands, the gravest loss first.
LOSSES: Final[tuple[tuple[frozenset[str], str], ...]] = (
    (frozenset({"GETRANGE", "SET"}), "Redis does not carry the mode: the database does"),
    (
        frozenset({"PUBLISH", "SUBSCRIBE"}),
        "changes are not announced: each process reads them within STAGE_MODE_TTL_SECONDS",
    ),
    (
        frozenset({"TIME", "HGETALL", "HDEL", "HSET"}),
        "processes report what they serve to the database only",
    ),
    (
        frozenset({"EVAL", "WATCH", "MULTI"}),
        "of two simultaneous changes, the copy may hold the older one until it is compared with "
        "the database, within STAGE_MODE_TTL_SECONDS",
    ),
)


@dataclass(frozen=True, slots=True)
class MissingRight:
    """A command that Redis refuses, with its answer."""

    command: str
    answer: str


def missing() -> list[MissingRight]:
    """Return the commands that Redis refuses and that lose something.

    Raises `RedisUnavailable`.
    """
    found = link.ask("rights", _probe, insist=True)
    refused = {each.command for each in found}
    if "EVAL" not in refused or not refused & TRANSACTION:
        # A script does what a transaction does, and the other way round.
        found = [each for each in found if each.command not in {"EVAL", *TRANSACTION}]
    return found


def losses(rights: Sequence[MissingRight]) -> str:
    """Return what is lost, as one clause for each kind of loss."""
    commands = {each.command for each in rights}
    return "; ".join(loss for needed, loss in LOSSES if needed & commands)


def remedy(rights: Sequence[MissingRight], user: str) -> str:
    """Return the line to run in Redis, or what to change of its configuration or of REDIS_URL."""
    answers = " ".join(each.answer.lower() for each in rights)
    if "read only replica" in answers:
        return "REDIS_URL leads to a read-only replica: let it name the primary."
    renamed = [each.command for each in rights if each.answer.startswith("unknown command")]
    grants = [_grant(each) for each in rights if each.command not in renamed]
    parts = []
    if grants:
        parts.append(f"Run `ACL SETUSER {user} {' '.join(dict.fromkeys(grants))}`.")
    if renamed:
        parts.append(f"The server does not have {', '.join(renamed)} (rename-command).")
    return " ".join(parts)


def _grant(right: MissingRight) -> str:
    answer = right.answer.lower()
    if "channel" in answer:
        return f"&{CHANNEL}"
    return KEYS if "key" in answer else f"+{right.command.lower()}"


def _probe(client: Redis) -> list[MissingRight]:
    """Send each command on a connection of its own, which is closed afterwards."""
    pool = client.connection_pool
    connection = pool.connection_class(**pool.connection_kwargs)
    try:
        connection.connect()
        found = _refused(connection, HARMLESS)
        if all(each.command != "MULTI" for each in found):
            found += _refused(connection, QUEUED)
            with contextlib.suppress(Exception):  # closing the connection discards it as well
                _refused(connection, (("DISCARD",),))
        return found + _refused(connection, (("SUBSCRIBE", CHANNEL),))
    finally:
        connection.disconnect()


def _refused(connection: Any, commands: Sequence[tuple[str | int, ...]]) -> list[MissingRight]:
    from redis.exceptions import AskError, ResponseError

    connection.send_packed_command(connection.pack_commands(commands))
    found = []
    for command, *_ in commands:
        try:
            connection.read_response()
        except AskError:  # another node of the cluster has the key, and decides
            continue
        except ResponseError as refusal:
            found.append(MissingRight(str(command), str(refusal)))
    return found
