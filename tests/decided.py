"""Decisions for the tests: one line each, through the functions that the product uses."""

from datetime import timedelta

from django.utils import timezone

from normalization import decision_store, decisions
from normalization.decision_file import DecisionRow
from normalization.decision_warnings import DecisionVerdict
from normalization.decisions import DecisionResult
from normalization.models import DecisionBatch, StageDecision
from normalization.stages import Stage
from ops.consumers.models import ConsumerDecision
from ops.gates.consumers_rule import ConsumerVerdict


def row(
    spelling: str, verdict: Stage | DecisionVerdict, note: str = "", kind: str = ""
) -> DecisionRow:
    """Return a decision: a stage, or another verdict."""
    if isinstance(verdict, Stage):
        return DecisionRow(spelling, DecisionVerdict.STAGE, verdict, kind, note)
    return DecisionRow(spelling, verdict, None, kind, note)


def decide(
    spelling: str,
    verdict: Stage | DecisionVerdict,
    note: str = "",
    *,
    kind: str = "",
    author: str = "ann",
    reason: str = "our feed",
) -> DecisionResult:
    """Decide one spelling, confirming its warnings; in force in this process at once."""
    return decide_all([row(spelling, verdict, note, kind)], author=author, reason=reason)


def decide_all(
    rows: list[DecisionRow], *, author: str = "ann", reason: str = "our feed"
) -> DecisionResult:
    """Decide several spellings in one batch, confirming their warnings."""
    plan = decisions.plan(rows)
    result = decisions.apply(
        plan,
        author=author,
        source=DecisionBatch.Source.COMMAND,
        reason=reason,
        confirmed=[each.spelling for each in rows],
    )
    decision_store.forget()
    return result


def retire(*spellings: str, author: str = "bob") -> DecisionResult:
    """Take the decisions about these spellings out of force."""
    result = decisions.retire(
        spellings, author=author, source=DecisionBatch.Source.COMMAND, reason="a slip"
    )
    decision_store.forget()
    return result


def active() -> dict[str, str]:
    """Return folded spelling → stage or verdict of the decisions in force."""
    found = StageDecision.objects.filter(superseded_at__isnull=True)
    return {each.key: each.stage or each.verdict for each in found}


def consumers_decided(*, days: float = 90) -> ConsumerDecision:
    """Record that the consumers are internal only; the decision expires in `days` days."""
    return ConsumerDecision.objects.create(
        verdict=ConsumerVerdict.INTERNAL_ONLY.value,
        reason="the logs of a week",
        decided_by="ann",
        expires_at=timezone.now() + timedelta(days=days),
    )
