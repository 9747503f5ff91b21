"""Decisions for the tests: one line each, through the functions that the product uses."""

from normalization import decision_store, decisions
from normalization.decision_file import DecisionRow
from normalization.decision_warnings import DecisionVerdict
from normalization.decisions import DecisionResult
from normalization.models import DecisionBatch, StageDecision
from normalization.stages import Stage


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
        plan, author=author, source=DecisionBatch.Source.COMMAND, reason=reason
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
