"""How enforcement meets one client: whether it is enforced now, and from which share on it would be. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from normalization.rollout import Mode, Rollout, bucket, enters_at
from ops.pages.request_counts import Counts


class Standing(StrEnum):
    """Where a client stands in the rollout."""

    NOW = "now"
    CAPPED = "capped"
    NEVER = "never"
    ALWAYS = "always"
    SHARE = "share"


@dataclass(frozen=True, slots=True)
class Enforcement:
    """One client in one rollout. `endpoints`: where it is enforced now; `capped`: where a cap alone prevents it."""

    standing: Standing
    bucket: int
    enters_at: Decimal
    pilot: bool
    holdout: bool
    endpoints: tuple[str, ...]
    capped: tuple[str, ...]

    @property
    def now(self) -> bool:
        """Whether a request of the client's can be refused now."""
        return bool(self.endpoints)

    @property
    def word(self) -> str:
        """The same in a word or two."""
        return {
            Standing.NOW: "enforced now",
            Standing.CAPPED: "held by caps",
            Standing.NEVER: "never",
            Standing.ALWAYS: "at any share",
            Standing.SHARE: f"from {spelled(self.enters_at)} %",
        }[self.standing]

    @property
    def sentence(self) -> str:
        """The same for whoever has to decide."""
        return {
            Standing.NOW: f"Its requests that name an unknown stage are refused{self._but()}.",
            Standing.CAPPED: "It would be enforced now, but every endpoint is capped: nothing of it is refused.",
            Standing.NEVER: "A holdout: never enforced, whatever the share. It is warned instead.",
            Standing.ALWAYS: "A pilot: enforced as soon as the mode is enforce, whatever the share.",
            Standing.SHARE: f"A share of {spelled(self.enters_at)} % or more takes it in.",
        }[self.standing]

    def _but(self) -> str:
        return (
            f", except at {', '.join(self.capped)}, which a cap holds back" if self.capped else ""
        )


def of(rollout: Rollout, client: str, endpoints: Iterable[str]) -> Enforcement:
    """Say how `rollout` treats `client` at `endpoints`."""
    pilot, holdout = client in rollout.pilots, client in rollout.holdouts
    every = sorted(endpoints)
    reached = (
        rollout.mode is Mode.ENFORCE
        and not holdout
        and (pilot or enters_at(client) <= rollout.enforce_percent)
    )
    enforced = tuple(name for name in every if rollout.mode_for(name, client) is Mode.ENFORCE)
    return Enforcement(
        standing=_standing(pilot, holdout, reached, bool(enforced)),
        bucket=bucket(client),
        enters_at=enters_at(client),
        pilot=pilot,
        holdout=holdout,
        endpoints=enforced,
        capped=tuple(name for name in every if name not in enforced) if reached else (),
    )


def spelled(percent: Decimal) -> str:
    """Return a share without needless zeros."""
    return f"{percent.normalize():f}"


def _standing(pilot: bool, holdout: bool, reached: bool, enforced: bool) -> Standing:
    if holdout:
        return Standing.NEVER
    if reached:
        return Standing.NOW if enforced else Standing.CAPPED
    return Standing.ALWAYS if pilot else Standing.SHARE


def consequence(counts: Counts) -> str:
    """Say what enforcement makes of requests like these."""
    if not counts.requests:
        return "It sent no request, so nothing is known of what would be refused."
    accepted = f" {counts.normalized:,} used deprecated spellings, which stay accepted." * bool(
        counts.normalized
    )
    if not counts.refusable:
        return f"None of its {counts.requests:,} requests would be refused.{accepted}"
    share = f"{counts.refusable:,} of its {counts.requests:,} requests ({counts.percent:.2f} %)"
    return f"{share} named an unknown stage: enforcement answers such a request with 400 and does nothing.{accepted}"
