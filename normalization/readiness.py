"""What `/readyz` asks of the rollout."""

from __future__ import annotations

from normalization import rollout_store
from stagenorm import health


def stage_mode() -> None:
    """Pass unless this process never could read the rollout: then the default holds, and it says so."""
    snapshot = rollout_store.current()
    if snapshot.source == "no-store":
        mode = snapshot.rollout.mode
        raise health.NotReady(
            f"neither Redis nor the database ever answered: the default holds, which is {mode}."
        )


def register() -> None:
    """Add the check to `/readyz`; called when the app is ready."""
    health.register("stage_mode", stage_mode)
