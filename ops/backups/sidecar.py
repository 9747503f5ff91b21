"""The two files beside a dump: its hash for `sha256sum -c`, and a signed record of its content.

The signature is made with a key derived from `DJANGO_SECRET_KEY` (`ops.backups.signing`). Write
access to the backup directory is enough to replace a dump and its hash, but not to sign a record
for them. Records of older releases have an HMAC instead, which only this installation can check.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Collection
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.utils.crypto import salted_hmac

from ops.backups import archive, signing
from ops.backups.archive import read_sidecar, write_durably
from ops.backups.facts import SnapshotFacts
from ops.backups.outcomes import BackupInvalid, CheckInconclusive
from ops.backups.signing import SignatureRejected
from ops.backups.source import DatabaseIdentity

FORMAT: Final = "stagenorm-backup/2"
HMAC_FORMAT: Final = "stagenorm-backup/1"
HMAC_SALT: Final = "ops.backups.sidecar"


@dataclass(frozen=True, slots=True)
class Sidecar:
    """The record of one dump.

    `snapshot_at` is the database's time just before the snapshot. `encoding` is the server's, ""
    in the records of older releases.
    """

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
    encoding: str = ""

    def write(self, dump: Path) -> None:
        """Write both sidecars of the published `dump`, durably."""
        members = {"format": FORMAT, **asdict(self), "snapshot_at": self.snapshot_at.isoformat()}
        record = json.dumps(signing.signed(members), indent=1, sort_keys=True)
        write_durably(hash_file(dump), f"{self.sha256}  {self.name}\n".encode())
        write_durably(record_file(dump), record.encode())


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


def read(dump: Path, trusted: Collection[str] = ()) -> Sidecar:
    """Return the signed record of `dump`.

    `trusted` are the verification keys of the installation that made it, by default this one's.
    Raises `BackupInvalid` if it is missing, malformed, signed with another key or belongs to
    another file, and `CheckInconclusive` if only the installation that made it can check it.
    """
    members = _members(record_file(dump))
    name = record_file(dump).name
    if trusted and members["format"] == HMAC_FORMAT:
        raise CheckInconclusive(f"{name} was written by an older release: make a new backup")
    try:
        if members["format"] == FORMAT:
            members = signing.verified(members, trusted or signing.own_keys())
        else:
            members = _verified_hmac(members)
    except SignatureRejected as fault:
        cause = "" if trusted else ", or DJANGO_SECRET_KEY was changed since"
        raise BackupInvalid(
            f"the signature of {name} does not fit ({fault}): dump or record were replaced{cause}"
        ) from fault
    found = _parsed(members, name)
    if found.name != dump.name:
        raise BackupInvalid(f"{name} is the record of {found.name}, not of {dump.name}")
    if read_sidecar(hash_file(dump)) != f"{found.sha256}  {found.name}\n".encode():
        raise BackupInvalid(f"{hash_file(dump).name} differs from the signed record")
    return found


def _members(path: Path) -> dict[str, Any]:
    found = archive.read_json(path)
    if found.get("format") not in (FORMAT, HMAC_FORMAT):
        raise BackupInvalid(f"{path.name} is malformed: not a record of format {FORMAT}")
    return found


def _verified_hmac(document: dict[str, Any]) -> dict[str, Any]:
    members = {name: value for name, value in document.items() if name != "hmac"}
    text = json.dumps(members, sort_keys=True, separators=(",", ":"))
    signature = str(document.get("hmac")).encode()
    for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS):
        own = salted_hmac(HMAC_SALT, text, secret=str(key), algorithm="sha256").hexdigest()
        if hmac.compare_digest(signature, own.encode()):
            return members
    raise SignatureRejected("its content was changed after it was signed")


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
