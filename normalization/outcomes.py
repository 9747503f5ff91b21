"""Outcomes of requests, and which of them enforcement refuses.

An outcome is that of a request's worst stage. A stored spelling that a PATCH repeats counts as
`normalized` in every mode, because no mode refuses it. "Would enforcement refuse this request" is
decided here, in Python and in SQL, for the gate `would_refuse`, the operator's pages and
`stage_clients`.
`stage:unknown_share:rate1h` in `ops/prometheus/rules.yml` is the same rule over metrics.
"""

from __future__ import annotations

from typing import Final

from normalization.rollout import Mode

OUTCOMES: Final = ("canonical", "normalized", "outside", "unknown", "rejected")
"""From the best to the worst."""


def would_be_refused(outcome: str, mode: str) -> bool:
    """Return whether enforcement refuses a request with this outcome, counted under `mode`.

    Earlier releases counted a repeated stored spelling as `unknown` or `outside` in `enforce`,
    which therefore are not refusals there.
    """
    without_stage = outcome in ("outside", "unknown")
    return outcome == "rejected" or (without_stage and mode != Mode.ENFORCE)


WOULD_BE_REFUSED: Final = (
    "(outcome = 'rejected' OR outcome IN ('outside', 'unknown') AND mode <> 'enforce')"
)
"""`would_be_refused` as a condition on rows of `normalization_outcometally`."""
