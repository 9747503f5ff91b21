#!/usr/bin/env python
"""Django's command line. Without environment variables it uses the database of `make run`.

See docs/configuration.md.
"""

import os
import sys
from pathlib import Path

WITHOUT_DATABASE = {
    "alertmanager_relay",
    "check",
    "collectstatic",
    "findstatic",
    "help",
    "spectacular",
    "version",
    "--help",
    "-h",
    "--version",
}


def main() -> None:
    """Run one command. Configuration errors print one line per variable and exit with status 1."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "stagenorm.settings")
    os.environ["STAGENORM_PROCESS"] = "command"
    from django.core.exceptions import ImproperlyConfigured

    from stagenorm import command_line, env, postgres
    from stagenorm.postgres_host import PostgresError

    data = Path(os.environ.get("STAGENORM_DATA_DIR") or Path(__file__).resolve().parent / ".data")
    env.adopt_development_file(data, os.environ)
    try:
        from django.conf import settings

        if (
            settings.DEVELOPMENT
            and "DATABASE_URL" not in os.environ
            and needs_database(sys.argv[1:])
        ):
            postgres.Postgres(settings.DATA_DIR).use()
    except (ImproperlyConfigured, PostgresError) as fault:
        sys.exit(str(fault))
    command_line.run(sys.argv)


def needs_database(arguments: list[str]) -> bool:
    """Return whether a command line uses the database; `check` does with `--database` only."""
    if any(each.partition("=")[0] == "--database" for each in arguments):
        return True
    return not WITHOUT_DATABASE & set(arguments[:1] or ["help"])


if __name__ == "__main__":
    main()
