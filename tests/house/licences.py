"""The licences of the runtime's packages: `python -m tests.house.licences` prints the table."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "licences.md"
PINS = ROOT / "requirements" / "runtime.txt"


def installed() -> dict[str, str]:
    """Return package → licence for each pinned package that this machine needs."""
    found = {}
    for name in re.findall(r"^([a-z0-9][a-z0-9._-]*)==", PINS.read_text(), re.MULTILINE):
        try:
            found[name] = _licence(metadata.metadata(name))
        except metadata.PackageNotFoundError:  # for another Python or system
            continue
    return found


def documented() -> dict[str, str]:
    """Return the table of docs/licences.md."""
    return dict(re.findall(r"^\| `(.+)` \| (.+) \|$", DOCUMENT.read_text(), re.MULTILINE))


def _licence(package: metadata.PackageMetadata) -> str:
    """Return the SPDX expression, else the classifiers, else the text of the field."""
    for expression in package.get_all("License-Expression") or ():
        return str(expression)
    classifiers = [
        str(each).rpartition(" :: ")[2]
        for each in package.get_all("Classifier") or ()
        if str(each).startswith("License :: ")
    ]
    named = classifiers or [str(each) for each in package.get_all("License") or ("unknown",)]
    return " AND ".join(named)


if __name__ == "__main__":
    for name, licence in installed().items():
        print(f"| `{name}` | {licence} |")
