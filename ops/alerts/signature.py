"""Who sent a delivery: hex HMAC-SHA256 of `{timestamp}:{raw body}`, the form that Grafana Alerting sends by itself.

Pure: takes bytes and a clock's reading, returns a verdict. The raw bytes are what counts: what is parsed and written
again (Alertmanager escapes `<`, `>`, `&` and ends with a newline) has another signature.
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

# ASCII digits only: str.isdigit and int() also take Arabic-Indic ones. Twelve of them reach beyond the year 30000.
_TIMESTAMP: Final = re.compile(r"[0-9]{1,12}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Genuine:
    """The delivery was signed with a current secret, and recently."""

    digest: str  # names this signature in the store; the signature itself is not kept


@dataclass(frozen=True, slots=True)
class Forged:
    """The delivery is not to be believed. `reason` is for the log; the sender is told nothing but 401."""

    reason: str


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """Return the signature of `body` at `timestamp` (unix seconds, in decimal)."""
    return hmac.digest(secret.encode(), timestamp.encode("ascii") + b":" + body, "sha256").hex()


def verify(
    secrets: Sequence[str], timestamp: str | None, signature: str | None, body: bytes, now: float
) -> Genuine | Forged:
    """Judge a delivery by its two headers (None where missing) and its raw body; `now` in unix seconds.

    Every secret is computed and compared whether or not an earlier one matched, and each comparison takes the same time
    wherever the first wrong character is: time tells a forger nothing. Never raises.
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
    for secret in secrets:  # bool | bool: on an int, 0 | True takes longer than 0 | False
        matched |= hmac.compare_digest(hmac.digest(secret.encode(), signed, "sha256"), given)
    if not matched:
        return Forged("signature wrong")
    return Genuine(hashlib.sha256(signature.encode("ascii")).hexdigest())


def _digest(signature: str) -> bytes | None:
    """Return the 32 bytes that 64 lower-case hex digits write, None for any other text."""
    try:
        digest = bytes.fromhex(signature)
    except ValueError:
        return None
    return digest if len(signature) == 64 and digest.hex() == signature else None
