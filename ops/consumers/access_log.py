"""Reads one line of an access log: combined (nginx, Apache), JSON lines, or our own request log.

The format is found line by line. JSON lines may come from nginx, Caddy, Traefik or a load
balancer: the members are found by their usual names.

The combined format has one regular expression of its own. The parsers on PyPI were examined
(2026-11): `apachelogs` is the one that is kept alive. It takes seven times as long (14,000 and
96,000 lines a CPU second), refuses lines with members after the user agent, which many nginx
set-ups add, and ends with ValueError at an impossible date.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

import orjson

LONGEST_AGENT: Final = 200
LONGEST_NAME: Final = 100
LONGEST_METHOD: Final = 20
LONGEST_TIME: Final = 40
NESTED: Final = 2  # objects in which members are searched: the request, and its headers
_MILLISECONDS_FROM: Final = 1e11  # a larger number of seconds is later than the year 5000

_QUOTED: Final = r'"((?:[^"\\]|\\.)*)"'
_COMBINED: Final = re.compile(
    r"(?:\S+:\d+ )??"  # Apache's vhost_combined begins with the virtual host
    r"([^\s:]+|[0-9a-fA-F:.]+|unix:) \S+ .+? "
    r"\[(\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4})\] "
    rf"{_QUOTED} (\d{{3}}) (?:\d+|-)"
    rf"(?: {_QUOTED} {_QUOTED}(?: .*)?)?"
)
_MONTHS: Final = (
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
)  # fmt: skip
_ESCAPE: Final = re.compile(r"\\(?:x([0-9a-fA-F]{2})|(.))")

# Names of members, in the order in which they are tried. They are compared in lower case, with
# `_` for `-` and `.`.
_ADDRESS: Final = (
    "client_ip", "ip", "remote_addr", "remote_ip", "clientip", "clienthost", "client_address",
)  # fmt: skip
_TIME: Final = (
    "timestamp", "time", "time_iso8601", "time_local", "ts", "startutc", "msec", "datetime",
)  # fmt: skip
_LINE: Final = ("request", "request_line")
_METHOD: Final = ("method", "request_method", "requestmethod", "verb")
_PATH: Final = ("request_uri", "uri", "path", "url", "requestpath")
_STATUS: Final = ("status", "code", "status_code", "downstreamstatus", "response_status")
_AGENT: Final = ("user_agent", "http_user_agent", "request_user_agent", "agent")
_CLIENT: Final = ("client", "client_name")
_KEY: Final = ("authorization", "http_authorization", "request_authorization")
OUR_ENDS: Final = ("request_finished", "request_failed")
OUR_OTHERS: Final = "request_started"
NOTHING: Final = ("", "-")


class UnreadableLine(ValueError):
    """The line is not an entry of an access log; the message has the reason, without its text."""


@dataclass(frozen=True, slots=True)
class LoggedRequest:
    """One request of a log.

    `method` and `target` are empty if the client sent no valid request line. `client` is the name
    of the key, where the log has it. `has_key`: whether a key was sent, None if the format does
    not have it.
    """

    address: str
    at: datetime
    method: str
    target: str
    status: int
    agent: str = ""
    client: str = ""
    has_key: bool | None = None


def parse(line: bytes) -> LoggedRequest | None:
    """Return the request of one line, or None for a record of something else.

    Raises `UnreadableLine`.
    """
    if line.lstrip().startswith(b"{"):
        return _from_json(line)
    return _from_combined(line.decode("utf-8", "replace").rstrip("\r\n"))


def _from_combined(line: str) -> LoggedRequest:
    found = _COMBINED.fullmatch(line)
    if found is None:
        raise UnreadableLine("neither combined nor JSON")
    address, at, request, status, _, agent = found.groups()
    method, target = _split(_unescaped(request))
    agent = _unescaped(agent or "")
    return LoggedRequest(
        address=address[:LONGEST_NAME],
        at=_clf_moment(at),
        method=method,
        target=target,
        status=int(status),
        agent="" if agent == "-" else agent[:LONGEST_AGENT],
    )


def _from_json(line: bytes) -> LoggedRequest | None:
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        raise UnreadableLine("not valid JSON") from None
    members = dict(_flat(record))
    if members.get("event") == OUR_OTHERS:
        return None
    method, target = _request_of(members)
    status = _first(members, _STATUS)
    if not target or status is None:
        return None  # an application's log has other records too
    address = _text(members, _ADDRESS)
    if address in NOTHING:
        raise UnreadableLine("no address")
    agent, client = _text(members, _AGENT), _text(members, _CLIENT)
    return LoggedRequest(
        address=address[:LONGEST_NAME],
        at=_moment(_first(members, _TIME)),
        method=method,
        target=target,
        status=_status(status),
        agent="" if agent == "-" else agent[:LONGEST_AGENT],
        client="" if client == "-" else client[:LONGEST_NAME],
        has_key=_has_key(members, client),
    )


def _flat(record: Mapping[str, Any], nested: int = NESTED) -> Iterator[tuple[str, Any]]:
    """Yield the members by their compared names; those of a nested request come as its own.

    Caddy nests the request and its headers, and gives each header as a list.
    """
    for name, value in record.items():
        name = name.lower().lstrip("@").replace("-", "_").replace(".", "_")
        if isinstance(value, dict) and nested and name in ("request", "headers"):
            yield from _flat(value, nested - 1)
        elif isinstance(value, list):
            yield name, value[0] if value else ""
        else:
            yield name, value


def _request_of(members: Mapping[str, Any]) -> tuple[str, str]:
    method, target = _text(members, _METHOD), _text(members, _PATH)
    if method and target:
        return method[:LONGEST_METHOD], target
    return _split(_text(members, _LINE))


def _split(request: str) -> tuple[str, str]:
    """Return method and target of a request line; both empty if it is not one."""
    method, _, rest = request.partition(" ")
    target = rest.partition(" ")[0]
    return (method[:LONGEST_METHOD], target) if method.isalpha() and target else ("", "")


def _has_key(members: Mapping[str, Any], client: str) -> bool | None:
    """Return whether a key was sent: our log names its client, others may have the header."""
    if client not in NOTHING:
        return True
    if members.get("event") in OUR_ENDS:
        return False
    given = _first(members, _KEY)
    return None if given is None else str(given) not in NOTHING


def _first(members: Mapping[str, Any], names: Iterable[str]) -> Any:
    return next((members[name] for name in names if members.get(name) is not None), None)


def _text(members: Mapping[str, Any], names: Iterable[str]) -> str:
    found = _first(members, names)
    return found if isinstance(found, str) else ""


def _status(value: object) -> int:
    try:
        return int(str(value))
    except ValueError:
        raise UnreadableLine("the status is not a number") from None


def _moment(value: object) -> datetime:
    """Read ISO 8601, the combined format's form, or seconds or milliseconds of the Unix epoch."""
    if value is None:
        raise UnreadableLine("no time")
    text = str(value)[:LONGEST_TIME]
    try:
        if text[:1].isdigit() and text.replace(".", "", 1).isdigit():
            number = float(text)
            seconds = number / 1000 if number >= _MILLISECONDS_FROM else number
            return datetime.fromtimestamp(seconds, UTC)
        if text[2:3] == "/":
            return _clf_moment(text)
        at = datetime.fromisoformat(text)
    except (ValueError, OverflowError, OSError):
        raise UnreadableLine("the time cannot be read") from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


@lru_cache(4_096)
def _clf_moment(text: str) -> datetime:
    """Read 27/Nov/2026:10:00:01 +0000. Not by strptime: its names of months follow the locale."""
    try:
        day, month, rest = text.split("/", 2)
        year, clock = rest.split(":", 1)
        return datetime.fromisoformat(
            f"{year}-{_MONTHS.index(month) + 1:02}-{day}T{clock[:8]}{clock[9:12]}:{clock[12:]}"
        )
    except ValueError:
        raise UnreadableLine("the time cannot be read") from None


def _unescaped(text: str) -> str:
    r"""Undo the escapes of nginx (\x22) and Apache (\", \\, \xhh)."""
    return _ESCAPE.sub(_character, text) if "\\" in text else text


def _character(escape: re.Match[str]) -> str:
    code, character = escape.groups()
    return chr(int(code, 16)) if code else str(character)
