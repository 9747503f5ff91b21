"""The gate before stored rows are rewritten: a backup that would bring them back. It cannot be overridden."""

from ops.backups import history
from ops.gates.rules import GateOutcome


class GateClosed(RuntimeError):
    """The gate did not pass; the message is its sentence, and what could change it."""


def ask() -> None:
    """Raise GateClosed unless there is a valid backup right now."""
    verdict = history.backup_verdict()
    if verdict.outcome is not GateOutcome.PASS:
        remedy = f" To fix: {verdict.remedy}" if verdict.remedy else ""
        raise GateClosed(
            f"Refused by the gate {verdict.gate} ({verdict.outcome}): {verdict.sentence}{remedy}"
        )
