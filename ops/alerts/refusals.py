"""The trace that refused requests leave: all are counted, a few are logged and kept.

Nothing here decides about a request. A sender that is refused because others misbehave would be locked out by them, so
every request is verified, which costs microseconds, and only what is written about bad ones is limited.
"""

from __future__ import annotations

from typing import Final

import structlog
from django.db import Error as StoreError

from normalization.sampling import Sampler
from ops.alerts import metrics
from ops.alerts.metrics import Outcome
from ops.alerts.models import WebhookDelivery

log = structlog.get_logger(__name__)

A_MINUTE: Final = 5  # of each process; the rest is in the counter
_logged = Sampler(all_below=A_MINUTE, then_one_in=1000)
_kept = Sampler(all_below=A_MINUTE, then_one_in=1_000_000)


def note(endpoint: str, outcome: Outcome, detail: str) -> None:
    """Count a refused request; log and keep it while there are few. `detail` is the server's own text. Never raises."""
    metrics.count(outcome)
    if rate := _logged.rate():
        log.warning(
            "stage_webhook_refused",
            endpoint=endpoint,
            outcome=outcome,
            why=detail,
            sampling_rate=rate,
        )
    if outcome is Outcome.STORE_DOWN or not _kept.rate():
        return
    try:
        WebhookDelivery.objects.create(endpoint=endpoint, outcome=outcome, detail=detail[:200])
    except StoreError as error:
        log.warning("stage_webhook_refusal_not_kept", error=type(error).__name__)
