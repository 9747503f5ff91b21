"""The two files beside a dump: its hash as `sha256sum -c` reads it, and a signed record of what it holds.

The signature is an HMAC with a key derived from `DJANGO_SECRET_KEY`: whoever can write the backup directory can
replace a dump and its hash, but not sign the record that goes with them.
"""

from __future__ import annotations

import hmac
import json
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.utils.crypto import salted_hmac

from ops.backups.archive import read_sidecar, write_durably
from ops.backups.facts import Facts
from ops.backups.outcomes import Bad
from ops.backups.source import Identity

FORMAT: Final = "stagenorm-backup/1"
SALT: Final = "ops.backups.sidecar"


@dataclass(frozen=True, slots=True)
class Sidecar:
    """The record of one dump. `snapshot_at` is the database's time just before the snapshot."""

    name: str
    size: int
    sha256: str
    snapshot_at: datetime
    identity: Identity
    server_version: int
    client_version: str
    host: str
    created_by: str
    seconds: float
    fewer_rows_accepted: str
    facts: Facts

    def write(self, dump: Path) -> None:
        """Write both sidecars of the published `dump`, durably."""
        members = {"format": FORMAT, **asdict(self), "snapshot_at": self.snapshot_at.isoformat()}
        signed = {**members, "hmac": _signature(members, settings.SECRET_KEY)}
        write_durably(hash_file(dump), f"{self.sha256}  {self.name}\n".encode())
        write_durably(record_file(dump), json.dumps(signed, indent=1, sort_keys=True).encode())


def hash_file(dump: Path) -> Path:
    """`<dump>.sha256`."""
    return dump.with_name(f"{dump.name}.sha256")


def record_file(dump: Path) -> Path:
    """`<dump>.json`."""
    return dump.with_name(f"{dump.name}.json")


def read(dump: Path) -> Sidecar:
    """Return the signed record of `dump`; raise `Bad` if it is missing, malformed, not ours, or not this file's."""
    members = _members(record_file(dump))
    signature = members.pop("hmac", "")
    keys = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    if not any(
        hmac.compare_digest(str(signature).encode(), _signature(members, str(key)).encode())
        for key in keys
    ):
        raise Bad(
            f"the signature of {record_file(dump).name} does not fit: dump or record were replaced, or "
            "DJANGO_SECRET_KEY was changed since"
        )
    found = _parsed(members, record_file(dump).name)
    if found.name != dump.name:
        raise Bad(f"{record_file(dump).name} is the record of {found.name}, not of {dump.name}")
    if read_sidecar(hash_file(dump)) != f"{found.sha256}  {found.name}\n".encode():
        raise Bad(f"{hash_file(dump).name} does not say what the signed record says")
    return found


def _members(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(read_sidecar(path))
    except (ValueError, RecursionError) as error:
        raise Bad(f"{path.name} is malformed: not a JSON document") from error
    if not isinstance(found, dict) or found.pop("format", None) != FORMAT:
        raise Bad(f"{path.name} is malformed: not a record of format {FORMAT}")
    return {"format": FORMAT, **found}


def _parsed(members: dict[str, Any], name: str) -> Sidecar:
    given = {key: value for key, value in members.items() if key != "format"}
    try:
        identity = Identity(**given.pop("identity"))
        return Sidecar(
            **{
                **given,
                "identity": identity,
                "snapshot_at": datetime.fromisoformat(given["snapshot_at"]),
            }
        )
    except (TypeError, ValueError, KeyError) as error:
        raise Bad(f"{name} is malformed: {error}") from error


def _signature(members: dict[str, Any], key: str) -> str:
    text = json.dumps(members, sort_keys=True, separators=(",", ":"))
    return salted_hmac(SALT, text, secret=key, algorithm="sha256").hexdigest()
