"""How enforcement treats one client: whether it is enforced now, or from which share on. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from normalization.rollout import Mode, Rollout, bucket, enters_at
from ops.pages.clients.counts import RequestCounts
from ops.pages.rollout.changes import percent_text


class EnforcementStatus(StrEnum):
    """How the rollout treats a client."""

    NOW = "now"
    CAPPED = "capped"
    NEVER = "never"
    ALWAYS = "always"
    SHARE = "share"


@dataclass(frozen=True, slots=True)
class ClientEnforcement:
    """One client in one rollout.

    `endpoints`: where it is enforced now. `capped`: where only a cap prevents that. `enters_at`:
    the smallest share that includes it.
    """

    status: EnforcementStatus
    bucket: int
    enters_at: Decimal
    pilot: bool
    holdout: bool
    endpoints: tuple[str, ...]
    capped: tuple[str, ...]

    @property
    def now(self) -> bool:
        """Whether a request of the client can be refused now."""
        return bool(self.endpoints)

    @property
    def roles(self) -> list[str]:
        """The client's roles in the rollout: pilot, holdout or none."""
        return ["pilot"] * self.pilot + ["holdout"] * self.holdout

    @property
    def word(self) -> str:
        """The status in a few words."""
        return {
            EnforcementStatus.NOW: "enforced now",
            EnforcementStatus.CAPPED: "only warned: its endpoints are limited",
            EnforcementStatus.NEVER: "held out",
            EnforcementStatus.ALWAYS: "always in",
            EnforcementStatus.SHARE: f"enters at {percent_text(self.enters_at)} %",
        }[self.status]

    @property
    def sentence(self) -> str:
        """The status in one sentence."""
        return {
            EnforcementStatus.NOW: f"Requests with an unknown stage are refused{self._except()}.",
            EnforcementStatus.CAPPED: "Only warned: a cap limits each of its endpoints.",
            EnforcementStatus.NEVER: "Held out: never enforced, at any share; it is warned.",
            EnforcementStatus.ALWAYS: "Always in: enforced with the mode enforce, at any share.",
            EnforcementStatus.SHARE: f"It enters at a share of {percent_text(self.enters_at)} %.",
        }[self.status]

    def _except(self) -> str:
        return f", except at {', '.join(self.capped)}, which a cap limits" if self.capped else ""


def enforcement_of(rollout: Rollout, client: str, endpoints: Iterable[str]) -> ClientEnforcement:
    """Return how `rollout` treats `client` at `endpoints`."""
    pilot, holdout = client in rollout.pilots, client in rollout.holdouts
    every = sorted(endpoints)
    included = not holdout and (pilot or enters_at(client) <= rollout.enforce_percent)
    reached = rollout.mode is Mode.ENFORCE and included
    enforced = tuple(name for name in every if rollout.mode_for(name, client) is Mode.ENFORCE)
    return ClientEnforcement(
        status=_status(pilot, holdout, reached, bool(enforced)),
        bucket=bucket(client),
        enters_at=enters_at(client),
        pilot=pilot,
        holdout=holdout,
        endpoints=enforced,
        capped=tuple(name for name in every if name not in enforced) if reached else (),
    )


def consequence(counts: RequestCounts) -> str:
    """Return in one or two sentences what enforcement would do to requests like these."""
    if not counts.requests:
        return "This client sent no stages, so nothing is known of what would be refused."
    accepted = ""
    if counts.normalized:
        accepted = f" {counts.normalized:,} used deprecated spellings, which stay accepted."
    if not counts.refusable:
        return f"None of its {counts.requests:,} requests would be refused.{accepted}"
    share = f"{counts.refusable:,} of its {counts.requests:,} requests ({counts.percent:.2f} %)"
    return (
        f"{share} would be refused: they named an unknown stage, which enforcement answers with "
        f"400.{accepted}"
    )


def _status(pilot: bool, holdout: bool, reached: bool, enforced: bool) -> EnforcementStatus:
    if holdout:
        return EnforcementStatus.NEVER
    if reached:
        return EnforcementStatus.NOW if enforced else EnforcementStatus.CAPPED
    return EnforcementStatus.ALWAYS if pilot else EnforcementStatus.SHARE
