"""`pg_dump` and `pg_restore`: where they are, whether they fit the server, and which holes their version has."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from django.conf import settings

from ops.backups.outcomes import BackupRefused

# A dump from a hostile server runs code in the client (CVE-2025-8714, CVE-2025-8715, fixed August 2025), or the server
# overwrites its memory (CVE-2026-6477, fixed May 2026). The first minor release of each major version without them:
HOLES_CLOSED_SINCE: Final = {14: 23, 15: 18, 16: 14, 17: 10, 18: 4}
HOLES: Final = "CVE-2025-8714, CVE-2025-8715, CVE-2026-6477"


@dataclass(frozen=True, slots=True)
class Tools:
    """The client programs that will be used, and their version."""

    pg_dump: Path
    pg_restore: Path
    version: tuple[int, int]

    @property
    def warning(self) -> str:
        """One sentence about known holes of this version; empty when there are none."""
        major, minor = self.version
        closed = HOLES_CLOSED_SINCE.get(major)
        if (closed is None and major > max(HOLES_CLOSED_SINCE)) or (
            closed is not None and minor >= closed
        ):
            return ""
        advice = f"{major}.{closed} closes them" if closed else "use a supported major version"
        return f"pg_restore {major}.{minor} has known holes ({HOLES}): {advice}."


def find(server_version: int) -> Tools:
    """Return the tools for a server (`server_version_num`); raise `BackupRefused` when they are missing or do not fit.

    The major versions have to be equal: an older pg_dump refuses, and a newer pg_restore sets parameters that an older
    server does not know, so that a drill would fail on a good backup.
    """
    dump, restore = _program("pg_dump"), _program("pg_restore")
    versions = {program: _version(program) for program in (dump, restore)}
    server = server_version // 10000
    for program, version in versions.items():
        if version[0] != server:
            raise BackupRefused(
                f"{program} is of version {version[0]}, the server of {server}: set PG_BIN_DIR to the directory of "
                f"version {server}'s programs, for example /usr/lib/postgresql/{server}/bin."
            )
    return Tools(dump, restore, versions[restore])


def _program(name: str) -> Path:
    chosen = settings.PG_BIN_DIR
    found = shutil.which(name, path=str(chosen) if chosen != Path() else None)
    if not found:
        raise BackupRefused(
            f"{name} was not found: install the PostgreSQL client, or set PG_BIN_DIR to its directory."
        )
    return Path(found)


def _version(program: Path) -> tuple[int, int]:
    answer = subprocess.run(  # noqa: S603 (the configured program)
        [program, "--version"], capture_output=True, text=True, check=False, timeout=30
    )
    found = re.search(r"(\d+)(?:\.(\d+))?", answer.stdout.partition(")")[2])
    if not found:
        raise BackupRefused(
            f"{program} --version does not tell its version: set PG_BIN_DIR to PostgreSQL's programs."
        )
    return int(found[1]), int(found[2] or 0)
