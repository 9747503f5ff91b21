"""How an operation on backups ends early.

Each message has the reason and, if there is one, the remedy.
"""

from __future__ import annotations


class BackupRefused(Exception):
    """Nothing was started."""


class BackupFailed(Exception):
    """The dump could not be made; nothing was published."""


class BackupInvalid(Exception):
    """The backup itself is damaged or not the one that was made: verdict `failed`."""


class BackupFileMissing(BackupInvalid):
    """One of the three files of the backup does not exist."""


class CheckInconclusive(Exception):
    """The check could not be carried out; the backup may be good: verdict `error`."""
