"""Requests counted by their worst stage. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Counts:
    """Requests by their worst stage; `refusable` of them are refused where the client is enforced."""

    canonical: int = 0
    normalized: int = 0
    outside: int = 0
    unknown: int = 0
    rejected: int = 0
    refusable: int = 0

    @property
    def requests(self) -> int:
        """All of them."""
        accepted = self.canonical + self.normalized
        return accepted + self.outside + self.unknown + self.rejected

    @property
    def percent(self) -> float:
        """The share that enforcement refuses."""
        return 100 * self.refusable / self.requests if self.requests else 0.0

    def __add__(self, other: Counts) -> Counts:
        """Return both together."""
        return Counts(*(getattr(self, name) + getattr(other, name) for name in Counts.__slots__))
