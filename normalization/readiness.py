"""The readiness check of the rollout for `/readyz`."""

from __future__ import annotations

from normalization import rollout_store
from stagenorm import health


def stage_mode() -> None:
    """Fail if this process has never read the rollout from a store: the default applies then."""
    snapshot = rollout_store.current()
    if snapshot.source == "no-store":
        mode = snapshot.rollout.mode
        raise health.NotReady(
            f"neither Redis nor the database ever answered: the default holds, which is {mode}."
        )


def register() -> None:
    """Add the check to `/readyz`; called when the app is ready."""
    health.register("stage_mode", stage_mode)
