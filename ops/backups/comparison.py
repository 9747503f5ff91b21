"""Pure comparisons of facts: a restored copy with its snapshot, and a snapshot with the valid one before it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

# Below this many rows, half of them gone is a day's work and not a disaster.
FLOOR_FROM_ROWS: Final = 10


def differences(expected: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """Say what `found` (facts of a restored copy) does not hold as `expected` (facts of the snapshot) says."""
    return [
        *_schema_differences(expected["schema"], found["schema"]),
        *_table_differences(expected["tables"], found["tables"]),
        *(
            f"stages of {name} differ"
            # A column that held stages when the backup was made and holds none today is in its table's digest.
            for name in sorted(expected["stages"].keys() & found["stages"].keys())
            if expected["stages"][name] != found["stages"][name]
        ),
        *(["large objects differ"] if expected["large_objects"] != found["large_objects"] else []),
    ]


def _schema_differences(expected: Mapping[str, str], found: Mapping[str, str]) -> Iterator[str]:
    for name in sorted(expected.keys() | found.keys()):
        if name not in found:
            yield f"{name} is missing"
        elif name not in expected:
            yield f"{name} is not in the snapshot"
        elif expected[name] != found[name]:
            yield f"{name} is defined otherwise"


def _table_differences(expected: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[str]:
    for name, facts in expected.items():
        restored = found.get(name)
        if restored is None:
            continue  # said by the schema
        if facts["rows"] != restored["rows"]:
            yield f"{name} has {restored['rows']:,} rows instead of {facts['rows']:,}"
        elif facts["digest"] != restored["digest"]:
            yield f"{name} has other values in its {facts['rows']:,} rows"


def fallen_below_floor(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Say which tables with stages lost half of their rows or more since the valid backup before."""
    return [
        f"{name} has {_rows(now, name):,} rows, the last valid backup had {_rows(before, name):,}"
        for name in sorted({column.rpartition(".")[0] for column in before["stages"]})
        if _rows(before, name) >= FLOOR_FROM_ROWS and 2 * _rows(now, name) <= _rows(before, name)
    ]


def _rows(facts: Mapping[str, Any], table: str) -> int:
    found = facts["tables"].get(table)
    return found["rows"] if found else 0
