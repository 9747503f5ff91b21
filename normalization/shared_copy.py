"""The copy in Redis of a value that the database holds: signed, versioned, and never written over by an older one.

Anybody who may write to that Redis can put anything there. A copy therefore carries an HMAC over its kind, version and
body, made with SECRET_KEY: what was edited by hand, cut off or written by another deployment is no copy at all.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.utils.crypto import salted_hmac
from redis.exceptions import ResponseError

from normalization.redis_link import RedisLink, RedisUnavailable, link

if TYPE_CHECKING:
    from redis import Redis

CHANNEL: Final = "stage:validation:events"
SALT: Final = "normalization.shared_copy"
# A copy is a few kilobytes; somebody else's gigabyte under our key is not worth fetching.
MOST_BYTES: Final = 1_000_000

# Compare and set. KEYS: the copy. ARGV: version, text, a text that may be overruled whatever its version, channel,
# event, most bytes of a copy. Returns the text that stands in the way, or false when the new one was written and
# announced. A key of another type, or a text that is too long or no JSON, stands in nobody's way.
COMPARE_AND_SET: Final = """
local held = redis.pcall('GET', KEYS[1])
if type(held) == 'string' and #held <= tonumber(ARGV[6]) and held ~= ARGV[3] then
  local read, copy = pcall(cjson.decode, held)
  if read and type(copy) == 'table' and type(copy.version) == 'number' and copy.version >= tonumber(ARGV[1]) then
    return held
  end
end
redis.call('SET', KEYS[1], ARGV[2])
redis.call('PUBLISH', ARGV[4], ARGV[5])
return false
"""


class CopyInvalid(ValueError):
    """The text is not a copy that this deployment signed."""


@dataclass(frozen=True, slots=True)
class Copy:
    """A signed copy: the value's wire form at a version, and the very text that holds it."""

    version: int
    body: Mapping[str, Any]
    text: str


@dataclass(frozen=True, slots=True)
class Found:
    """What Redis answered: a valid copy or None, and the text that was there (None for nothing, or no text at all)."""

    copy: Copy | None
    text: str | None


def seal(kind: str, version: int, body: Mapping[str, Any]) -> Copy:
    """Return the signed copy of `body`; its members stand beside `version` in one JSON object."""
    document = {"version": version, **body}
    signature = _signature(kind, document, settings.SECRET_KEY)
    return Copy(version, body, json.dumps({**document, "signature": signature}, sort_keys=True))


def unseal(kind: str, text: str) -> Copy:
    """Read a copy; raise `CopyInvalid` for anything that `seal` did not write with a current or retiring key."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CopyInvalid("no JSON") from error
    if not isinstance(document, dict) or type(document.get("version")) is not int:
        raise CopyInvalid("no versioned object")
    signature = document.pop("signature", None)
    keys = (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    # Compared as bytes: a signature with other than ASCII characters is a wrong one, not an error.
    given = signature.encode("utf-8", "replace") if isinstance(signature, str) else b""
    if not any(
        hmac.compare_digest(given, _signature(kind, document, key).encode()) for key in keys
    ):
        raise CopyInvalid("not signed by this deployment")
    version = document.pop("version")
    return Copy(version, document, text)


def _signature(kind: str, document: Mapping[str, Any], key: str | bytes) -> str:
    canonical = json.dumps([kind, document], sort_keys=True, separators=(",", ":"))
    return salted_hmac(SALT, canonical, secret=key, algorithm="sha256").hexdigest()


class SharedCopy:
    """One key in Redis: `stage:validation:<kind>`."""

    def __init__(self, kind: str, redis: RedisLink = link) -> None:
        self.kind, self.key, self._redis = kind, f"stage:validation:{kind}", redis

    def read(self) -> Found:
        """Return what is there now; raise `RedisUnavailable`."""
        return self._judge(self._redis.ask("read", self._get))

    def put(
        self,
        version: int,
        body: Mapping[str, Any],
        *,
        overrule: str | None = None,
        insist: bool = False,
    ) -> bool:
        """Write unless a copy of this or a newer version is there, and announce it; raise `RedisUnavailable`.

        Returns whether it was written. A text that is no valid copy never stands in the way, and neither does
        `overrule`: a text that the database was asked about after it had been read.
        """
        copy = seal(self.kind, version, body)
        held = self._compare_and_set(copy, overrule, insist)
        if held is not None and self._judge(held).copy is None:
            held = self._compare_and_set(copy, held, insist)
        return held is None

    def _judge(self, text: str | None) -> Found:
        if text is None:
            return Found(None, None)
        try:
            return Found(unseal(self.kind, text), text)
        except CopyInvalid:
            return Found(None, text)

    def _get(self, client: Redis) -> str | None:
        try:
            # One byte more than a copy may have: what is longer is cut off here, and then no copy.
            return _text(client.getrange(self.key, 0, MOST_BYTES)) or None
        except ResponseError as error:
            if str(error).startswith("WRONGTYPE"):
                return None  # another type is nothing, and will be written over
            raise

    def _compare_and_set(self, copy: Copy, overrule: str | None, insist: bool) -> str | None:
        event = json.dumps({"kind": self.kind, "version": copy.version})
        arguments: list[str | bytes | int] = [
            copy.version,
            copy.text,
            (overrule or "").encode("utf-8", "surrogateescape"),
            CHANNEL,
            event,
            MOST_BYTES,
        ]
        held = self._redis.ask(
            "write",
            lambda client: client.eval(COMPARE_AND_SET, 1, self.key, *arguments),
            insist=insist,
        )
        return _text(held)


def _text(answer: object) -> str | None:
    if answer is None:
        return None
    if isinstance(answer, bytes):
        # Bytes that are no UTF-8 are kept apart by surrogates, so that compare-and-set can name them again.
        return answer.decode("utf-8", "surrogateescape")
    raise RedisUnavailable(f"answered {type(answer).__name__}")
