"""Finds the code that calls the endpoints: their paths as text, with file and line.

Code builds an address from parts, so a path is searched without its `/api` and with anything in
the place of a parameter. A hit is a place to look at, not a proof of a call.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from stagenorm.terminal import ReportProgress, no_progress

SKIPPED_DIRECTORIES: Final = frozenset(
    {
        ".git", ".hg", ".svn", ".tox", ".nox", ".venv", "venv", "__pycache__", "node_modules",
        ".mypy_cache", ".ruff_cache", ".pytest_cache", "site-packages",
    }
)  # fmt: skip
LARGEST_FILE: Final = 2 * 1024 * 1024  # generated files and data sets are larger than code
MOST_HITS: Final = 1_000
SHOWN_CHARACTERS: Final = 160
PROBED: Final = 8_192  # bytes in which a NUL marks a binary file
_PARAMETER: Final = re.compile(r"\\\{\w+\\\}")


@dataclass(frozen=True, slots=True)
class CodeHit:
    """One line that names an endpoint's path. `line` counts from 1."""

    file: str
    line: int
    endpoint: str
    text: str


@dataclass(slots=True)
class CodeSearch:
    """The hits, and what was read. `too_large` and `unreadable` are numbers of files.

    `complete` is False if the search ended at MOST_HITS.
    """

    hits: list[CodeHit] = field(default_factory=list)
    files: int = 0
    binary: int = 0
    too_large: int = 0
    unreadable: int = 0
    complete: bool = True


def search(
    directories: Iterable[Path],
    endpoints: Mapping[str, str],
    progress: ReportProgress = no_progress,
) -> CodeSearch:
    """Search the files below `directories` for `endpoints` (label → "METHOD /path")."""
    found = CodeSearch()
    patterns = {label: _pattern(address) for label, address in endpoints.items()}
    any_pattern = re.compile(b"|".join(pattern.pattern for pattern in patterns.values()))
    for path in _files(directories):
        progress("code", found.files)
        data = _text_of(path, found)
        if data is None or any_pattern.search(data) is None:
            continue
        for hit in _hits(path, data, patterns):
            if len(found.hits) >= MOST_HITS:
                found.complete = False
                return found
            found.hits.append(hit)
    return found


def _pattern(address: str) -> re.Pattern[bytes]:
    """Return what matches a path in code; any text on the line stands for a parameter."""
    path = address.partition(" ")[2].removeprefix("/api").lstrip("/")
    escaped = _PARAMETER.sub(r"[^\\r\\n]{1,80}?", re.escape(path))
    return re.compile(rf"\b{escaped}\b".encode())


def _files(directories: Iterable[Path]) -> Iterator[Path]:
    for directory in directories:
        for root, names, files in os.walk(directory):  # does not follow links
            names[:] = sorted(set(names) - SKIPPED_DIRECTORIES)
            for name in sorted(files):
                path = Path(root, name)
                if path.is_file() and not path.is_symlink():
                    yield path


def _text_of(path: Path, found: CodeSearch) -> bytes | None:
    """Return the content of a text file; None for a file that is skipped, which is counted."""
    try:
        if path.stat().st_size > LARGEST_FILE:
            found.too_large += 1
            return None
        data = path.read_bytes()
    except OSError:
        found.unreadable += 1
        return None
    if b"\0" in data[:PROBED]:
        found.binary += 1
        return None
    found.files += 1
    return data


def _hits(path: Path, data: bytes, patterns: Mapping[str, re.Pattern[bytes]]) -> Iterator[CodeHit]:
    for number, line in enumerate(data.splitlines(), start=1):
        for label, pattern in patterns.items():
            if pattern.search(line):
                text = line.strip().decode("utf-8", "replace")[:SHOWN_CHARACTERS]
                yield CodeHit(str(path), number, label, text)
