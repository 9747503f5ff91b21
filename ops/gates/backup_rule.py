"""The rule for backups: valid or not, fresh or not, in which words, and what to do about it.

Pure functions: no clock, no settings, no database, no file. `ops.backups.history` reads the
records and the files; the gate `backup_valid`, the admin, the start page, `backup_status`,
`prune_backups` and the metrics all use the result, so that they cannot disagree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Protocol

BACKUP_MAX_AGE: Final = timedelta(seconds=3600)
CYCLE: Final = "manage.py backup_cycle"


class CheckKind(StrEnum):
    """The two checks that a valid backup has passed."""

    VERIFY = "verify"
    RESTORE = "restore"


class CheckVerdict(StrEnum):
    """The result of a check: `failed` is about the backup, `error` only about the attempt."""

    PASSED = "passed"
    FAILED = "failed"
    ERROR = "error"


CHECK_COMMANDS: Final = {
    CheckKind.VERIFY: "manage.py verify_backup",
    CheckKind.RESTORE: "manage.py test_restore",
}


class RecordedCheck(Protocol):
    """The part of a recorded check that the rule needs."""

    @property
    def kind(self) -> str: ...
    @property
    def verdict(self) -> str: ...
    @property
    def sha256(self) -> str: ...
    @property
    def reason(self) -> str: ...


@dataclass(frozen=True, slots=True)
class BackupRecord:
    """The records of one backup. `checks` are oldest first; `foreign`: of another database."""

    name: str
    sha256: str
    snapshot_at: datetime
    checks: Sequence[RecordedCheck] = ()
    pruned: bool = False
    foreign: bool = False


class FileState(StrEnum):
    """The three files of a backup (dump, record, hash) compared with those that were checked."""

    SAME = "same"
    TOUCHED = "touched"  # written, moved or copied since the checks, and not read again
    CHANGED = "changed"
    MISSING = "missing"
    ELSEWHERE = "elsewhere"  # not found here, and the backup was made on another host
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class BackupFiles:
    """The files on disk; `detail` is the reason for CHANGED, MISSING, ELSEWHERE and UNREADABLE."""

    state: FileState
    detail: str = ""


class BackupState(StrEnum):
    """The validity of a backup, its age apart."""

    VALID = "valid"
    TOUCHED = "touched"
    ELSEWHERE = "elsewhere"
    UNREADABLE = "unreadable"
    CHANGED = "changed"
    MISSING = "missing"
    FAILED = "failed"
    UNCHECKED = "unchecked"
    FOREIGN = "foreign"
    PRUNED = "pruned"


# Neither valid nor invalid: reading the files, here or on their host, decides.
UNCERTAIN: Final = frozenset({BackupState.TOUCHED, BackupState.ELSEWHERE, BackupState.UNREADABLE})


@dataclass(frozen=True, slots=True)
class BackupValidity:
    """The result for one backup.

    `sentence` is for people, `remedy` is "" if nothing is to be done.
    """

    name: str
    snapshot_at: datetime
    age_seconds: float
    state: BackupState
    sentence: str
    remedy: str = ""
    files: FileState | None = None

    @property
    def valid(self) -> bool | None:
        """Whether the backup can be restored; None if its files must be read to decide."""
        if self.state in UNCERTAIN:
            return None
        return self.state is BackupState.VALID

    @property
    def fresh(self) -> bool:
        """Whether the age is at least 0 and below BACKUP_MAX_AGE."""
        return 0 <= self.age_seconds < BACKUP_MAX_AGE.total_seconds()


def validity(record: BackupRecord, files: BackupFiles | None, now: datetime) -> BackupValidity:
    """Return the validity of a backup at `now`.

    A backup is valid if both checks passed for its recorded SHA-256, none failed since, and its
    three files are still the ones that passed. `files` may be None only if `by_records` gives a
    reason against the backup; otherwise a ValueError is raised.
    """
    age = (now - record.snapshot_at).total_seconds()
    found, seen = by_records(record), None
    if found is None:
        if files is None:
            raise ValueError(f"The files of {record.name} were not examined.")
        found, seen = _by_files(record.name, files, age), files.state
    state, sentence, remedy = found
    return BackupValidity(
        record.name, record.snapshot_at, age, state, sentence, remedy, files=seen
    )


def by_records(record: BackupRecord) -> tuple[BackupState, str, str] | None:
    """Return state, sentence and remedy if the records alone rule the backup out, else None.

    A check that ended in `error` has no influence.
    """
    name = record.name
    if record.pruned:
        sentence = f"{name} was removed to make room; its records stay."
        return BackupState.PRUNED, sentence, ""
    if record.foreign:
        return BackupState.FOREIGN, f"{name} is a backup of another database.", CYCLE
    passed: set[str] = set()
    failure: RecordedCheck | None = None
    for check in record.checks:
        if check.verdict == CheckVerdict.FAILED:
            passed, failure = set(), check
        elif check.verdict == CheckVerdict.PASSED and check.sha256 == record.sha256:
            passed.add(check.kind)
    missing = [kind for kind in CheckKind if kind not in passed]
    if not missing:
        return None
    if failure is not None:
        sentence = f"{name} failed {failure.kind}: {failure.reason}."
        return BackupState.FAILED, sentence, CYCLE
    sentence = f"{name} has not passed {' and '.join(missing)}."
    return BackupState.UNCHECKED, sentence, f"{CHECK_COMMANDS[missing[0]]} {name}"


def _by_files(name: str, files: BackupFiles, age: float) -> tuple[BackupState, str, str]:
    aged = _age_fault(name, age)
    if files.state is FileState.SAME:
        sentence = aged or f"{name} passed both checks and is {int(age)} s old."
        return BackupState.VALID, sentence, CYCLE if aged else ""
    state = BackupState(files.state.value)
    sentence = _FILE_SENTENCES[files.state].format(name=name, detail=files.detail)
    if state not in UNCERTAIN:
        return state, sentence, CYCLE
    if aged:  # reading the files could not make the gate pass
        return state, f"{sentence} {aged}", CYCLE
    return state, sentence, _UNCERTAIN_REMEDIES[files.state].format(name=name)


_FILE_SENTENCES: Final = {
    FileState.TOUCHED: "{name} was touched on disk since its checks; verify its bytes again.",
    FileState.CHANGED: "{name} was changed on disk since its checks: {detail}.",
    FileState.MISSING: "{name} is no longer complete on disk: {detail}.",
    FileState.ELSEWHERE: "{name} is {detail}, whose disk this process cannot see.",
    FileState.UNREADABLE: "{name} cannot be read: {detail}.",
}
_UNCERTAIN_REMEDIES: Final = {
    FileState.TOUCHED: f"{CHECK_COMMANDS[CheckKind.VERIFY]} {{name}}",
    FileState.ELSEWHERE: "run the command on the host that keeps the backups",
    FileState.UNREADABLE: "run the command as the user who owns the backups, or let this one read",
}


def _age_fault(name: str, age: float) -> str:
    limit = BACKUP_MAX_AGE.total_seconds()
    if age < 0:
        return f"The snapshot of {name} is {-age:.0f} s in the future: a clock was set back."
    if age >= limit:
        return f"{name} is {int(age)} s old; the limit is {limit:.0f} s."
    return ""
