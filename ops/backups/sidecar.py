"""The two files beside a dump: its hash for `sha256sum -c`, and a signed record of its content.

The signature is an HMAC with a key derived from `DJANGO_SECRET_KEY`. Write access to the backup
directory is enough to replace a dump and its hash, but not to sign a record for them.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.utils.crypto import salted_hmac

from ops.backups import archive
from ops.backups.archive import read_sidecar, write_durably
from ops.backups.facts import SnapshotFacts
from ops.backups.outcomes import BackupInvalid
from ops.backups.source import DatabaseIdentity

FORMAT: Final = "stagenorm-backup/1"
SALT: Final = "ops.backups.sidecar"


@dataclass(frozen=True, slots=True)
class Sidecar:
    """The record of one dump. `snapshot_at` is the database's time just before the snapshot."""

    name: str
    size: int
    sha256: str
    snapshot_at: datetime
    identity: DatabaseIdentity
    server_version: int
    client_version: str
    host: str
    created_by: str
    seconds: float
    fewer_rows_accepted: str
    facts: SnapshotFacts

    def write(self, dump: Path) -> None:
        """Write both sidecars of the published `dump`, durably."""
        members = {"format": FORMAT, **asdict(self), "snapshot_at": self.snapshot_at.isoformat()}
        signed = {**members, "hmac": _signature(members, settings.SECRET_KEY)}
        write_durably(hash_file(dump), f"{self.sha256}  {self.name}\n".encode())
        write_durably(record_file(dump), json.dumps(signed, indent=1, sort_keys=True).encode())


def stamp(descriptor: int, dump: Path) -> str:
    """Return the stamp of all three files: the open dump's, and a digest of the two beside it.

    Raises as `archive.opened` if a file beside the dump is missing, special or not readable.
    """
    beside = hashlib.sha256()
    for path in (record_file(dump), hash_file(dump)):
        with archive.opened(path) as file:
            beside.update(archive.stamp(file).encode())
    return f"{archive.stamp(descriptor)}/{beside.hexdigest()[:16]}"


def hash_file(dump: Path) -> Path:
    """Return the path of `<dump>.sha256`."""
    return dump.with_name(f"{dump.name}.sha256")


def record_file(dump: Path) -> Path:
    """Return the path of `<dump>.json`."""
    return dump.with_name(f"{dump.name}.json")


def read(dump: Path) -> Sidecar:
    """Return the signed record of `dump`.

    Raises `BackupInvalid` if it is missing, malformed, signed with another key or belongs to
    another file.
    """
    members = _members(record_file(dump))
    signature = members.pop("hmac", "")
    keys = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    if not any(
        hmac.compare_digest(str(signature).encode(), _signature(members, str(key)).encode())
        for key in keys
    ):
        raise BackupInvalid(
            f"the signature of {record_file(dump).name} does not fit: "
            "dump or record were replaced, or DJANGO_SECRET_KEY was changed since"
        )
    found = _parsed(members, record_file(dump).name)
    if found.name != dump.name:
        raise BackupInvalid(
            f"{record_file(dump).name} is the record of {found.name}, not of {dump.name}"
        )
    if read_sidecar(hash_file(dump)) != f"{found.sha256}  {found.name}\n".encode():
        raise BackupInvalid(f"{hash_file(dump).name} differs from the signed record")
    return found


def _members(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(read_sidecar(path))
    except (ValueError, RecursionError) as error:
        raise BackupInvalid(f"{path.name} is malformed: not a JSON document") from error
    if not isinstance(found, dict) or found.pop("format", None) != FORMAT:
        raise BackupInvalid(f"{path.name} is malformed: not a record of format {FORMAT}")
    return {"format": FORMAT, **found}


def _parsed(members: dict[str, Any], name: str) -> Sidecar:
    given = {key: value for key, value in members.items() if key != "format"}
    try:
        identity = DatabaseIdentity(**given.pop("identity"))
        return Sidecar(
            **{
                **given,
                "identity": identity,
                "snapshot_at": datetime.fromisoformat(given["snapshot_at"]),
            }
        )
    except (TypeError, ValueError, KeyError) as error:
        raise BackupInvalid(f"{name} is malformed: {error}") from error


def _signature(members: dict[str, Any], key: str) -> str:
    text = json.dumps(members, sort_keys=True, separators=(",", ":"))
    return salted_hmac(SALT, text, secret=key, algorithm="sha256").hexdigest()
