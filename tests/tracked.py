"""The files of the project."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests import children

ROOT = Path(__file__).parents[1]


def tracked() -> Iterator[Path]:
    """Yield the files that git tracks; without git, every file outside hidden directories."""
    # safe.directory: the checkout may belong to another account.
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z"]
    if (ROOT / ".git").exists():
        listed = children.run(command, cwd=ROOT)
        assert listed.returncode == 0, listed.stderr
        names = [ROOT / name for name in listed.stdout.split("\0") if name]
    else:
        names = [
            place
            for place in ROOT.rglob("*")
            if not any(part[0] == "." for part in place.relative_to(ROOT).parts)
        ]
    yield from filter(Path.is_file, names)
