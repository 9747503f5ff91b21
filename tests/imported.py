"""Importing files of companies in tests: a plan, then the import of that plan."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

from django.core.management import CommandError, call_command

from stagenorm.portfolio.models import Fund

Found = dict[str, Any]


def command(file: Path, fund: Fund, *options: str) -> tuple[Found, str]:
    """Run `import_companies FILE --fund N --json`; return what it printed and its refusal."""
    out, refusal = StringIO(), ""
    try:
        call_command(
            "import_companies", str(file), "--fund", str(fund.pk), "--json", *options, stdout=out
        )
    except CommandError as error:
        refusal = str(error)
    return json.loads(out.getvalue() or "{}"), refusal


def plan_file(file: Path, fund: Fund, *options: str) -> Found:
    """Return the plan of a file. Raises CommandError if there is none."""
    found, refusal = command(file, fund, *options)
    if not found:
        raise CommandError(refusal)
    return found


def import_file(file: Path, fund: Fund, *options: str) -> Found:
    """Plan the import of a file and carry it out; return what the import printed."""
    plan = plan_file(file, fund, *options)
    found, refusal = command(file, fund, *options, "--apply", plan["plan"])
    if not found:
        raise CommandError(refusal)
    return found


def import_text(directory: Path, fund: Fund, text: str | bytes, *options: str) -> Found:
    """Import a file with this content."""
    file = directory / "companies.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return import_file(file, fund, *options)
