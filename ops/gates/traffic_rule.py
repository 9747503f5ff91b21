"""When few enough requests would be refused: the rule of the gate `would_refuse`.

Pure values over counted requests. `ops.gates.traffic` counts them. Few requests prove nothing, so
the gate needs a least number of them, except for a change that enforces pilots alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

LEAST_REQUESTS: Final = 1_000
REFUSED_PER_MILLE: Final = 5  # 0.5 %


@dataclass(frozen=True, slots=True)
class RefusedClient:
    """A client of which requests would be refused: how many, of how many that it sent."""

    client: str
    refused: int
    requests: int


@dataclass(frozen=True, slots=True)
class EnforcedTraffic:
    """The requests of 24 hours that the new rollout enforces, judged by today's decisions.

    `clients` of the `clients_seen` clients are enforced at some endpoint; `pilots_alone`: each of
    them is a pilot by name. `refused_clients` and `spellings`: the worst of what would be refused.
    """

    requests: int = 0
    refused: int = 0
    clients: int = 0
    clients_seen: int = 0
    pilots_alone: bool = False
    refused_clients: tuple[RefusedClient, ...] = ()
    spellings: tuple[str, ...] = ()

    @property
    def needed(self) -> int:
        """The least number of requests that the gate can judge."""
        return 1 if self.pilots_alone else LEAST_REQUESTS

    @property
    def is_too_much_refused(self) -> bool:
        """Whether 0.5 % of the requests or more would be refused."""
        # Whole numbers: exactly 0.5 % must not depend on rounding.
        return 1000 * self.refused >= REFUSED_PER_MILLE * self.requests

    @property
    def share_refused(self) -> str:
        """The requests that would be refused, of how many, in words."""
        percent = 100 * self.refused / max(self.requests, 1)
        return f"{self.refused:,} of {self.requests:,} requests ({percent:.2f} %)"

    @property
    def worst(self) -> str:
        """The clients and the spellings that hold the change, in words."""
        clients = ", ".join(f"{each.client} ({each.refused:,})" for each in self.refused_clients)
        spellings = ", ".join(repr(raw) for raw in self.spellings)
        return f"Clients: {clients}." + (f" Spellings: {spellings}." if spellings else "")

    def evidence(self) -> dict[str, Any]:
        """Return the figures as they are recorded with a verdict."""
        return {
            "requests": self.requests,
            "refused": self.refused,
            "clients": self.clients,
            "clients_seen": self.clients_seen,
            "refused_by_client": {each.client: each.refused for each in self.refused_clients},
            "spellings": list(self.spellings),
            "window_hours": 24,
        }


NO_TRAFFIC: Final = EnforcedTraffic()
