"""Records who uses the endpoints, and reads the newest decision for the gate `consumers_known`.

`decide` is the one function that records a decision. It refuses a decision that contradicts the
audit, unless the operator confirms it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

import structlog
from django.conf import settings

from ops import clock
from ops.consumers.audit import ConsumerAudit
from ops.consumers.models import ConsumerDecision
from ops.gates.consumers_rule import ConsumerVerdict, KnownConsumers

log = structlog.get_logger(__name__)

NAMES_RECORDED: Final = 100
ADDRESSES_NAMED: Final = 5
LONGEST_REASON: Final = 500
LONGEST_ACTOR: Final = 150


class ConsumerDecisionRefused(Exception):
    """The decision cannot be recorded; the message has the reason and what to do."""


def decide(
    verdict: ConsumerVerdict,
    *,
    owners: Sequence[str] = (),
    reason: str,
    actor: str,
    audit: ConsumerAudit | None = None,
    confirm_external: bool = False,
) -> KnownConsumers:
    """Record a decision for CONSUMER_DECISION_DAYS days, and return it.

    `audit` is what the access logs showed, None if none was read. Raises
    `ConsumerDecisionRefused`.
    """
    owners = [name.strip() for name in owners if name.strip()]
    reason = reason.strip()
    _refuse_incomplete(verdict, owners, reason)
    if audit is not None and verdict is ConsumerVerdict.INTERNAL_ONLY and not confirm_external:
        _refuse_contradicted(audit)
    row = ConsumerDecision.objects.create(
        verdict=verdict.value,
        owners=owners,
        reason=reason,
        decided_by=actor[:LONGEST_ACTOR],
        evidence={} if audit is None else _evidence(audit, confirm_external),
        expires_at=clock.database_now() + timedelta(days=settings.CONSUMER_DECISION_DAYS),
    )
    row.refresh_from_db()  # the database dates it
    log.info("consumers_decided", verdict=verdict.value, owners=owners, actor=row.decided_by)
    return _known(row)


def newest() -> KnownConsumers | None:
    """Return the decision in force, expired or not; None if none was ever recorded."""
    row = ConsumerDecision.objects.order_by("-id").first()
    return None if row is None else _known(row)


def _refuse_incomplete(verdict: ConsumerVerdict, owners: Sequence[str], reason: str) -> None:
    if not reason:
        raise ConsumerDecisionRefused("Give a reason: --reason WHY.")
    if len(reason) > LONGEST_REASON:
        raise ConsumerDecisionRefused(f"The reason is longer than {LONGEST_REASON} characters.")
    if verdict is ConsumerVerdict.EXTERNAL and not owners:
        raise ConsumerDecisionRefused(
            "Name who answers for each external consumer: --owner NAME, repeatable."
        )
    if verdict is ConsumerVerdict.INTERNAL_ONLY and owners:
        raise ConsumerDecisionRefused("Owners are named for external consumers only.")


def _refuse_contradicted(audit: ConsumerAudit) -> None:
    """Refuse "internal only" while external addresses were served."""
    served = audit.served_external()
    if not served:
        return
    named = ", ".join(address for address, _ in served[:ADDRESSES_NAMED])
    more = f" and {len(served) - ADDRESSES_NAMED} more" if len(served) > ADDRESSES_NAMED else ""
    raise ConsumerDecisionRefused(
        f"The logs contradict it: external addresses were served: {named}{more}. "
        "Add their networks with --internal, decide external and name the owners, "
        "or add --confirm-external and explain it in the reason."
    )


def _evidence(audit: ConsumerAudit, confirmed: bool) -> dict[str, Any]:
    served = [address for address, _ in audit.served_external()]
    return {
        "days": audit.days,
        "files": [source.name for source in audit.sources][:NAMES_RECORDED],
        "requests": audit.requests,
        "external_requests": audit.external,
        "without_key": audit.without_key,
        "unreadable_lines": audit.unreadable,
        "clients": sorted(audit.clients())[:NAMES_RECORDED],
        "external_addresses_served": served[:NAMES_RECORDED],
        "external_confirmed": confirmed,
    }


def _known(row: ConsumerDecision) -> KnownConsumers:
    return KnownConsumers(
        verdict=ConsumerVerdict(row.verdict),
        owners=tuple(row.owners),
        decided_by=row.decided_by,
        decided_at=row.decided_at,
        expires_at=row.expires_at,
        requests=row.evidence.get("requests"),
    )
