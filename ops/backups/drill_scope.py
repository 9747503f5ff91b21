"""What a drill restores of a dump: everything except what its role cannot create.

A least-privilege role cannot create an extension that is not trusted, an event trigger, a
foreign-data wrapper or a function in an untrusted language. A drill leaves these out, with
everything that depends on them, as long as no table of the application is among it: such a drill
would prove nothing about the application's rows and is inconclusive instead.

`pg_restore --list --verbose` prints the entries of a dump with their dependencies. The catalog and
the oid of an entry connect it with the facts of the snapshot (`SnapshotFacts.objects`).
"""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from django.apps import apps

from ops.backups.outcomes import CheckInconclusive
from ops.backups.source import SourceConnection, one

SHOWN: Final = 20

ENTRY: Final = re.compile(r"(?P<number>\d+); (?P<key>\d+ \d+) (?P<text>.*)")
DEPENDENCIES: Final = re.compile(r";\s+depends on: (?P<numbers>[\d ]+)")

# The catalogs of objects that only a superuser creates: access methods, foreign-data wrappers,
# languages, operator classes and families, event triggers, parsers and templates of text search.
SUPERUSER_CATALOGS: Final = ("2601", "2328", "2612", "2616", "2753", "3466", "3601", "3764")
EXTENSION: Final = "EXTENSION - "
# A user mapping is listed without its server, and without a catalog.
USER_MAPPING: Final = "USER MAPPING "
SERVER: Final = "1417 "
SHELL_TYPE: Final = "SHELL TYPE "  # the first half of a base type

ROLE: Final = "SELECT rolname, rolsuper FROM pg_roles WHERE rolname = current_user"
EXTENSIONS: Final = """
SELECT e.name FROM pg_available_extensions e
JOIN pg_available_extension_versions v ON v.name = e.name AND v.version = e.default_version
WHERE %s OR v.trusted OR NOT v.superuser
"""

TABLE_KINDS: Final = ("table ", "partitioned table ")
_PART: Final = re.compile(r'"((?:[^"]|"")*)"|([^".]+)')


@dataclass(frozen=True, slots=True)
class DrillRole:
    """The role of a drill, and the extensions that it can create."""

    name: str
    superuser: bool
    extensions: frozenset[str]


@dataclass(frozen=True, slots=True)
class DumpEntry:
    """One entry of a dump. `needs` are the numbers of the entries that it depends on."""

    number: int
    key: str
    text: str
    needs: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class DrillScope:
    """The entries to restore and the objects left out.

    `facts` are names of the snapshot's facts; `named` are those to report, without what only
    belongs to another one of them.
    """

    role: str
    kept: Sequence[DumpEntry]
    facts: frozenset[str] = frozenset()
    named: tuple[str, ...] = ()

    @property
    def tables(self) -> frozenset[str]:
        """The tables that are left out, named as in the facts of tables."""
        found = (name.partition(kind)[2] for kind in TABLE_KINDS for name in self.facts)
        return frozenset(unquoted(name) for name in found if name)

    @contextlib.contextmanager
    def options(self) -> Iterator[list[str]]:
        """Yield the options of pg_restore that restore only the kept entries."""
        if not self.named:
            yield []
            return
        with tempfile.NamedTemporaryFile("w", prefix="stagenorm-drill-", suffix=".list") as file:
            file.writelines(f"{each.number}; {each.key} {each.text}\n" for each in self.kept)
            file.flush()
            yield [f"--use-list={file.name}"]

    def sentence(self) -> str:
        """Return what was left out and why; "" if nothing was."""
        if not self.named:
            return ""
        shown = ", ".join(self.named[:SHOWN])
        more = f" and {len(self.named) - SHOWN} more" if len(self.named) > SHOWN else ""
        return f"; left out, because the role {self.role} cannot create it: {shown}{more}"


def drill_role(link: SourceConnection) -> DrillRole:
    """Return the role of the connection and what it can create on this server."""
    name, superuser = one(link.execute(ROLE))
    found = link.execute(EXTENSIONS, [superuser]).fetchall()
    return DrillRole(name, superuser, frozenset(extension for (extension,) in found))


def read_entries(listing: str) -> list[DumpEntry]:
    """Return the entries of a dump from the output of `pg_restore --list --verbose`."""
    entries: list[DumpEntry] = []
    for line in listing.splitlines():
        entry = ENTRY.fullmatch(line)
        dependencies = DEPENDENCIES.match(line)
        if entry:
            entries.append(DumpEntry(int(entry["number"]), entry["key"], entry["text"]))
        elif dependencies and entries:
            entries[-1].needs.extend(map(int, dependencies["numbers"].split()))
    return entries


def drill_scope(
    entries: Sequence[DumpEntry], facts: Mapping[str, Any], role: DrillRole
) -> DrillScope:
    """Return what `role` restores of a dump whose snapshot has these facts.

    Raises `CheckInconclusive` if a table of the application depends on an object that the role
    cannot create, or if the record is too old to connect entries and facts.
    """
    causes = _left_out(entries, frozenset(facts.get("privileged", ())), role)
    if not causes:
        return DrillScope(role.name, entries)
    objects: dict[str, list[str]] | None = facts.get("objects")
    if objects is None:
        raise CheckInconclusive(
            f"the role {role.name} cannot create {next(iter(causes.values())).text.strip()}, and "
            "this record of an older release does not connect it with tables: make a new backup"
        )
    names = {keys[0]: name for name, keys in objects.items()}
    dropped = {each.key: causes[each.number] for each in entries if each.number in causes}
    left_out = {name for name, keys in objects.items() if not dropped.keys().isdisjoint(keys)}
    _require_no_own_table(left_out, objects, dropped, names, role)
    return DrillScope(
        role.name,
        kept=[each for each in entries if each.number not in causes],
        facts=frozenset(left_out),
        named=(
            *_named(left_out, objects, dropped, facts["tables"]),
            *dict.fromkeys(each.text for each in causes.values() if each.key not in names),
        ),
    )


def _left_out(
    entries: Sequence[DumpEntry], privileged: Collection[str], role: DrillRole
) -> dict[int, DumpEntry]:
    """Return number → the entry that the role cannot create and that this one depends on."""
    causes = {each.number: each for each in entries if not _can_create(each, privileged, role)}
    changed = True
    while changed:  # an entry may stand before one that it depends on
        changed = False
        for each in entries:
            cause = next((causes[need] for need in each.needs if need in causes), None)
            if cause is not None and each.number not in causes:
                causes[each.number] = cause
                changed = True
    _leave_out_user_mappings(entries, causes)
    return causes


def _leave_out_user_mappings(entries: Sequence[DumpEntry], causes: dict[int, DumpEntry]) -> None:
    servers = (each for each in entries if each.number in causes and each.key.startswith(SERVER))
    server = next(servers, None)
    if server is None:
        return
    for each in entries:
        if each.text.startswith(USER_MAPPING):
            causes[each.number] = causes[server.number]


def _can_create(entry: DumpEntry, privileged: Collection[str], role: DrillRole) -> bool:
    if entry.text.startswith(EXTENSION):
        return entry.text.removeprefix(EXTENSION).strip() in role.extensions
    if role.superuser:
        return True
    catalog = entry.key.partition(" ")[0]
    return not (
        catalog in SUPERUSER_CATALOGS
        or entry.key in privileged
        or entry.text.startswith(SHELL_TYPE)
    )


def _require_no_own_table(
    left_out: Collection[str],
    objects: Mapping[str, list[str]],
    dropped: Mapping[str, DumpEntry],
    names: Mapping[str, str],
    role: DrillRole,
) -> None:
    own = _own_tables()
    for fact in sorted(left_out):
        table = fact.startswith(TABLE_KINDS)
        if table and unquoted(fact).rpartition(".")[2] in own:
            cause = next(dropped[key] for key in objects[fact] if key in dropped)
            raise CheckInconclusive(
                f"the role {role.name} cannot create {names.get(cause.key, cause.text)}, and "
                f"the {fact} depends on it: name a role that can in BACKUP_DATABASE_URL"
            )


def _own_tables() -> set[str]:
    models = apps.get_models(include_auto_created=True)
    return {model._meta.db_table for model in models} | {"django_migrations"}


def _named(
    left_out: Collection[str],
    objects: Mapping[str, list[str]],
    dropped: Mapping[str, DumpEntry],
    tables: Mapping[str, Any],
) -> list[str]:
    """Return the objects to report, those that are the reason first, tables with their rows."""
    reported: list[tuple[bool, str]] = []
    for fact in left_out:
        own, *belongs_to = objects[fact]
        if not dropped.keys().isdisjoint(belongs_to) or own not in dropped:
            continue
        rows = tables.get(unquoted(fact.partition("table ")[2]))
        shown = f"{fact} ({rows['rows']:,} rows)" if rows else fact
        reported.append((dropped[own].key != own, shown))
    return [shown for _, shown in sorted(reported)]


def unquoted(name: str) -> str:
    """Return a qualified name without the quotes of its parts."""
    parts = (quoted.replace('""', '"') or plain for quoted, plain in _PART.findall(name))
    return ".".join(parts)
