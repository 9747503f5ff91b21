"""The signature of a delivery: hex HMAC-SHA256 of `{timestamp}:{raw body}`.

Grafana Alerting signs this way. Pure: takes bytes and the time, returns `Genuine` or `Forged`.
Sign and verify the raw bytes: JSON that is parsed and written again has another signature
(Alertmanager escapes `<`, `>` and `&`, and ends the body with a newline).
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

TIMESTAMP_HEADER: Final = "X-Alertmanager-Timestamp"
SIGNATURE_HEADER: Final = "X-Alertmanager-Signature"
WINDOW_SECONDS: Final = 300

# ASCII digits only: str.isdigit() and int() also accept Arabic-Indic digits.
# Twelve digits reach beyond the year 30000.
_TIMESTAMP: Final = re.compile(r"[0-9]{1,12}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Genuine:
    """The delivery was signed with a current secret, and recently."""

    digest: str  # identifies the signature in the store, which does not keep the signature


@dataclass(frozen=True, slots=True)
class Forged:
    """The signature does not verify. `reason` is for the log; the sender gets a plain 401."""

    reason: str


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """Return the signature of `body` at `timestamp` (unix seconds, in decimal)."""
    return hmac.digest(secret.encode(), timestamp.encode("ascii") + b":" + body, "sha256").hex()


def verify(
    secrets: Sequence[str], timestamp: str | None, signature: str | None, body: bytes, now: float
) -> Genuine | Forged:
    """Verify a delivery's two headers (None if missing) against its raw body.

    `now` is in unix seconds. Constant time: every secret is tried even after a match, and each
    comparison takes the same time for any wrong signature. Never raises.
    """
    if timestamp is None or signature is None:
        return Forged("unsigned")
    if not _TIMESTAMP.fullmatch(timestamp):
        return Forged("timestamp malformed")
    given = _digest(signature)
    if given is None:
        return Forged("signature malformed")
    if abs(int(now) - int(timestamp)) > WINDOW_SECONDS:
        return Forged("timestamp outside the window")
    signed, matched = timestamp.encode("ascii") + b":" + body, False
    for secret in secrets:  # bool | bool: with an int, 0 | True takes longer than 0 | False
        matched |= hmac.compare_digest(hmac.digest(secret.encode(), signed, "sha256"), given)
    if not matched:
        return Forged("signature wrong")
    return Genuine(hashlib.sha256(signature.encode("ascii")).hexdigest())


def _digest(signature: str) -> bytes | None:
    """Return the 32 bytes of 64 lower-case hex digits, or None for any other text."""
    try:
        digest = bytes.fromhex(signature)
    except ValueError:
        return None
    return digest if len(signature) == 64 and digest.hex() == signature else None
