"""When a backup counts: pure rules over its recorded checks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from ops.backups.outcomes import CheckKind, CheckVerdict

COMMANDS = {
    CheckKind.VERIFY: "manage.py verify_backup",
    CheckKind.RESTORE: "manage.py test_restore",
}


class Judged(Protocol):
    """What the rules need of a recorded check."""

    @property
    def kind(self) -> str: ...
    @property
    def verdict(self) -> str: ...
    @property
    def sha256(self) -> str: ...
    @property
    def reason(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Validity:
    """Whether the records say that a backup counts, why not, and the command that could change it."""

    valid: bool
    reason: str
    remedy: str = ""


def validity(name: str, sha256: str, checks: Iterable[Judged]) -> Validity:
    """Judge a backup by its checks, oldest first.

    Valid: both checks passed for exactly these bytes, and none failed since. A check without a verdict (`error`) counts
    neither way.
    """
    passed: set[str] = set()
    failure: Judged | None = None
    for check in checks:
        if check.verdict == CheckVerdict.FAILED:
            passed, failure = set(), check
        elif check.verdict == CheckVerdict.PASSED and check.sha256 == sha256:
            passed.add(check.kind)
    missing = [check for check in CheckKind if check not in passed]
    if not missing:
        return Validity(True, f"{name} passed both checks")
    if failure is not None:
        return Validity(
            False, f"{name} failed {failure.kind}: {failure.reason}", "manage.py backup_cycle"
        )
    words = " and ".join(str(check) for check in missing)
    return Validity(False, f"{name} has not passed {words}", f"{COMMANDS[missing[0]]} {name}")
