"""Outcomes of requests, and which of them enforcement refuses.

An outcome is that of a request's worst stage. "Would enforcement refuse this request" is decided
here, in Python and in SQL, for the gate `unknown_rate`, the operator's pages and `stage_clients`.
`stage:unknown_share:rate1h` in `ops/prometheus/rules.yml` is the same rule over metrics.
"""

from __future__ import annotations

from typing import Final

from normalization.rollout import Mode

OUTCOMES: Final = ("canonical", "normalized", "outside", "unknown", "rejected")
"""From the best to the worst."""


def would_be_refused(outcome: str, mode: str) -> bool:
    """Return whether enforcement refuses a request with this outcome, counted under `mode`.

    A stage without a meaning that `enforce` let through is a stored spelling that a PATCH left
    unchanged. Enforcement never refuses those.
    """
    without_stage = outcome in ("outside", "unknown")
    return outcome == "rejected" or (without_stage and mode != Mode.ENFORCE)


WOULD_BE_REFUSED: Final = (
    "(outcome = 'rejected' OR outcome IN ('outside', 'unknown') AND mode <> 'enforce')"
)
"""`would_be_refused` as a condition on rows of `normalization_outcometally`."""
