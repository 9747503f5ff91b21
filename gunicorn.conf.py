"""Settings that gunicorn reads by itself when it starts in this directory."""

from typing import Any


def post_worker_init(worker: Any) -> None:
    """Start the ticker of a worker at once, also after --preload: a fork ends every thread.

    So a worker without traffic follows the rollout, and its guard ticks. Without this file the
    ticker starts with the first request that needs the rollout.
    """
    from normalization.ticker import ticker

    ticker.ensure_running()
