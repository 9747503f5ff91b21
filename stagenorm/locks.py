"""The numbers of all advisory locks in PostgreSQL. A test checks that they differ.

A 64-bit key locks one thing for the whole database. A class (32 bits) leaves the other 32 bits to
name the thing. Idempotency keys are locked by a hash: see docs/architecture.md, "Locks".
"""

from __future__ import annotations

from typing import Final

ROLLOUT_CHANGE: Final = 0x57A6_E000_0001
TALLY_FLUSH: Final = 0x57A6_E000_0002
DECISION_CHANGE: Final = 0x57A6_E000_0003
SPELLING_COUNT: Final = 0x57A6_E000_0005
SPELLING_UNITS: Final = 0x57A6_E000_0006
BACKUP_DIRECTORY: Final = 0x57A6_E000_0010
DEMONSTRATION: Final = 0x57A6_E000_0020
MIGRATION: Final = 0x57A6_E000_0021

IMPORT_CLASS: Final = 0x57A6_0012
RESTORE_DRILL_CLASS: Final = 0x57A6_0011
