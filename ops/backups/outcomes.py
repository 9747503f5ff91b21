"""The words of this package: which checks a backup has to pass, what a check can say, and how one ends early."""

from __future__ import annotations

from enum import StrEnum


class CheckKind(StrEnum):
    """The two proofs that make a backup count."""

    VERIFY = "verify"
    RESTORE = "restore"


class CheckVerdict(StrEnum):
    """What a check found: `failed` speaks about the backup, `error` only about the attempt."""

    PASSED = "passed"
    FAILED = "failed"
    ERROR = "error"


class BackupRefused(Exception):
    """Nothing was started; the message says why and what to do."""


class BackupFailed(Exception):
    """The dump could not be made; nothing was published. The message says why and what to do."""


class Bad(Exception):
    """The backup itself is not what it should be: verdict `failed`."""


class NoVerdict(Exception):
    """The check could not be carried out, which says nothing about the backup: verdict `error`."""
