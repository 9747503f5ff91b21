"""The copy in Redis of a value from the database: signed and versioned.

A newer copy is never replaced by an older one.

Every client of Redis can write to it. A copy therefore has an HMAC over its kind, version and body
with SECRET_KEY. A text that was edited, truncated or written by another deployment is ignored.
"""

from __future__ import annotations

import contextlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from django.conf import settings
from django.utils.crypto import salted_hmac

from normalization.redis_link import (
    RedisLink,
    RedisRefused,
    RedisUnavailable,
    is_refusal,
    link,
)

if TYPE_CHECKING:
    from redis import Redis

CHANNEL: Final = "stage:validation:events"
SALT: Final = "normalization.shared_copy"
# A copy has a few kilobytes. A longer value under our key is not ours and is not fetched.
MOST_BYTES: Final = 1_000_000

# Compare and set. KEYS: the copy. ARGV: version, text, a text that is overwritten at any version,
# maximum bytes of a copy. Returns the existing text if it was kept, or false when the new one was
# written. A key of another type, or a text that is too long or not JSON, is overwritten. The
# script uses only the commands that reading and writing need anyway.
COMPARE_AND_SET: Final = """
local held = redis.pcall('GETRANGE', KEYS[1], 0, ARGV[4])
if type(held) == 'string' and #held <= tonumber(ARGV[4]) and held ~= ARGV[3] then
  local read, copy = pcall(cjson.decode, held)
  local versioned = read and type(copy) == 'table' and type(copy.version) == 'number'
  if versioned and copy.version >= tonumber(ARGV[1]) then
    return held
  end
end
redis.call('SET', KEYS[1], ARGV[2])
return false
"""
# Attempts of the same by WATCH, where scripts are refused and other processes write meanwhile.
ATTEMPTS: Final = 5


class NotAnnounced(RedisRefused):
    """The copy was written, and Redis refuses its announcement: it is read within the TTL."""


class CopyInvalid(ValueError):
    """The text was not signed by this deployment."""


@dataclass(frozen=True, slots=True)
class SignedCopy:
    """A signed copy: the value's wire form at a version, and the exact text."""

    version: int
    body: Mapping[str, Any]
    text: str


@dataclass(frozen=True, slots=True)
class CopyRead:
    """The copy read from Redis (None if invalid) and its text (None if missing or no string)."""

    copy: SignedCopy | None
    text: str | None


def seal(kind: str, version: int, body: Mapping[str, Any]) -> SignedCopy:
    """Return the signed copy of `body`: one JSON object of its members, version and signature."""
    document = {"version": version, **body}
    signature = _signature(kind, document, settings.SECRET_KEY)
    text = json.dumps({**document, "signature": signature}, sort_keys=True)
    return SignedCopy(version, body, text)


def unseal(kind: str, text: str) -> SignedCopy:
    """Parse a copy; raise `CopyInvalid` unless `seal` wrote it with a current or fallback key."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CopyInvalid("no JSON") from error
    if not isinstance(document, dict) or type(document.get("version")) is not int:
        raise CopyInvalid("no versioned object")
    signature = document.pop("signature", None)
    keys = (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    # Compared as bytes: compare_digest raises TypeError for non-ASCII text.
    given = signature.encode("utf-8", "replace") if isinstance(signature, str) else b""
    if not any(
        hmac.compare_digest(given, _signature(kind, document, key).encode()) for key in keys
    ):
        raise CopyInvalid("not signed by this deployment")
    version = document.pop("version")
    return SignedCopy(version, document, text)


def _signature(kind: str, document: Mapping[str, Any], key: str | bytes) -> str:
    canonical = json.dumps([kind, document], sort_keys=True, separators=(",", ":"))
    return salted_hmac(SALT, canonical, secret=key, algorithm="sha256").hexdigest()


class SharedCopy:
    """One key in Redis: `stage:validation:<kind>`."""

    def __init__(self, kind: str, redis: RedisLink = link) -> None:
        self.kind, self.key, self._redis = kind, f"stage:validation:{kind}", redis

    def read(self) -> CopyRead:
        """Return the current copy; raise `RedisUnavailable`."""
        return self._judge(self._redis.ask("read", self._get))

    def put(
        self,
        version: int,
        body: Mapping[str, Any],
        *,
        overrule: str | None = None,
        insist: bool = False,
    ) -> bool:
        """Write and announce a copy unless one of this or a newer version exists.

        Returns whether it was written. An invalid text is always overwritten, and so is the text
        `overrule`, which was read before the database was asked. Raises `NotAnnounced` if it was
        written alone, and `RedisUnavailable`.
        """
        copy = seal(self.kind, version, body)
        held = self._compare_and_set(copy, overrule, insist)
        if held is not None and self._judge(held).copy is None:
            held = self._compare_and_set(copy, held, insist)
        if held is not None:
            return False
        event = json.dumps({"kind": self.kind, "version": version})
        try:
            self._redis.ask(
                "publish", lambda client: client.publish(CHANNEL, event), insist=insist
            )
        except RedisRefused as refused:
            raise NotAnnounced(refused.reason) from refused
        return True

    def _judge(self, text: str | None) -> CopyRead:
        if text is None:
            return CopyRead(None, None)
        try:
            return CopyRead(unseal(self.kind, text), text)
        except CopyInvalid:
            return CopyRead(None, text)

    def _get(self, client: Redis) -> str | None:
        from redis.exceptions import ResponseError

        try:
            # One byte more than the maximum: a longer text is cut here and then invalid.
            return _text(client.getrange(self.key, 0, MOST_BYTES)) or None
        except ResponseError as error:
            if str(error).startswith("WRONGTYPE"):
                return None  # a key of another type will be overwritten
            raise

    def _compare_and_set(self, copy: SignedCopy, overrule: str | None, insist: bool) -> str | None:
        """Write the copy and return None, or return the text that is kept."""
        raw = (overrule or "").encode("utf-8", "surrogateescape")
        arguments: list[str | bytes | int] = [copy.version, copy.text, raw, MOST_BYTES]
        try:
            held = self._redis.ask(
                "script",
                lambda client: client.eval(COMPARE_AND_SET, 1, self.key, *arguments),
                insist=insist,
            )
            return _text(held)
        except RedisRefused:  # no EVAL
            return self._redis.ask(
                "write", lambda client: self._by_commands(client, copy, overrule), insist=insist
            )

    def _by_commands(self, client: Redis, copy: SignedCopy, overrule: str | None) -> str | None:
        """Do the same without a script, in a transaction if Redis allows one.

        Without a transaction an older copy may replace a newer one that is written at the same
        time. Each process compares the copy with the database once a TTL, and heals it.
        """
        from redis.exceptions import ResponseError, WatchError

        held = self._get(client)
        for _ in range(ATTEMPTS):
            with client.pipeline(transaction=True) as pipe:
                try:
                    pipe.watch(self.key)  # type: ignore[no-untyped-call]
                except ResponseError as error:
                    if not is_refusal(error):
                        raise
                    break
                held = self._get(cast("Redis", pipe))
                if _is_kept(held, copy.version, overrule):
                    return held
                pipe.multi()
                pipe.set(self.key, copy.text)
                with contextlib.suppress(WatchError):
                    pipe.execute()
                    return None
        if _is_kept(held, copy.version, overrule):
            return held
        client.set(self.key, copy.text)
        return None


def _is_kept(held: str | None, version: int, overrule: str | None) -> bool:
    """Whether `held` is of this version or newer, as `COMPARE_AND_SET` judges it."""
    if held is None or held == overrule or len(held) > MOST_BYTES:
        return False
    try:
        copy = json.loads(held)
    except (ValueError, RecursionError):
        return False
    return (
        isinstance(copy, dict) and type(copy.get("version")) is int and copy["version"] >= version
    )


def _text(answer: object) -> str | None:
    if answer is None:
        return None
    if isinstance(answer, bytes):
        # Surrogates keep invalid UTF-8 intact, so that compare-and-set can send the same bytes.
        return answer.decode("utf-8", "surrogateescape")
    raise RedisUnavailable(f"answered {type(answer).__name__}")
