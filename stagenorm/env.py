"""Read all environment variables.

``settings.py`` declares each variable with its name, kind, default and one line of help. The
reader parses strictly and collects all errors. ``finish()`` raises them together, one line each,
with the variable and the remedy. The table in docs/configuration.md is generated from the same
declarations.

With debug on, missing secrets are generated once and kept in ``.data/env`` (0600). ``manage.py``
also reads that file when neither DATABASE_URL nor DJANGO_DEBUG is set, so that a command beside a
running ``make run`` uses the same database.
"""

import base64
import ipaddress
import math
import os
import re
import secrets
import tempfile
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Final, TypeVar

import environs
from django.core.exceptions import ImproperlyConfigured
from psycopg.conninfo import conninfo_to_dict
from psycopg.errors import ProgrammingError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Variable:
    """One row of the table in docs/configuration.md."""

    name: str
    kind: str
    default: str
    help: str


@dataclass
class Reader:
    """Reads variables from the process environment. Each method declares and reads one."""

    variables: list[Variable] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    _environ: environs.Env = field(default_factory=environs.Env)

    def flag(self, name: str, default: bool, help: str, shown: str | None = None) -> bool:
        """Read ``1``/``true``/``yes``/``on`` or ``0``/``false``/``no``/``off``."""
        shown = shown or ("1" if default else "0")
        return self._read(
            Variable(name, "flag", shown, help), self._environ.bool, default, "use 1 or 0"
        )

    def text(self, name: str, default: str, help: str) -> str:
        """Read any text."""
        return self._read(
            Variable(name, "text", default, help), self._environ.str, default, "give a text"
        )

    def whole(self, name: str, default: int, help: str, minimum: int = 0) -> int:
        """Read a whole number of at least ``minimum``."""

        def parse(name: str) -> int:
            value = self._environ.int(name)
            if value < minimum:
                raise ValueError
            return value

        return self._read(
            Variable(name, "number", str(default), help),
            parse,
            default,
            f"use a whole number ≥ {minimum}",
        )

    def seconds(self, name: str, default: float, help: str) -> float:
        """Read a positive number of seconds; fractions are allowed."""

        def parse(name: str) -> float:
            value = self._environ.float(name)
            if not 0 < value < math.inf:
                raise ValueError
            return value

        return self._read(
            Variable(name, "seconds", f"{default:g}", help),
            parse,
            default,
            "use a positive number of seconds",
        )

    def choice(self, name: str, default: str, options: tuple[str, ...], help: str) -> str:
        """Read one of ``options``."""
        kind = " or ".join(f"`{option}`" for option in options)
        return self._read(
            Variable(name, kind, default, help),
            lambda name: _one_of(self._environ.str(name), options),
            default,
            f"use {kind}",
        )

    def day(self, name: str, default: date, help: str) -> date:
        """Read a date, ``YYYY-MM-DD``."""
        return self._read(
            Variable(name, "date", default.isoformat(), help),
            self._environ.date,
            default,
            "use YYYY-MM-DD",
        )

    def path(self, name: str, default: Path, shown: str, help: str) -> Path:
        """Read a path; the table shows ``shown`` as the default."""
        return self._read(
            Variable(name, "path", shown, help),
            lambda name: self._environ.path(name).absolute(),
            default,
            "give a path",
        )

    def words(
        self, name: str, default: list[str], help: str, required: bool = False, shown: str = ""
    ) -> list[str]:
        """Read a comma-separated list."""
        kind = Variable(name, "list", f"demanded; {shown}" if shown else ",".join(default), help)
        return self._read(
            kind,
            lambda name: _words(self._environ.str(name)),
            default,
            "give a comma-separated list",
            required,
        )

    def networks(self, name: str, default: list[str], help: str) -> list[str]:
        """Read a comma-separated list of networks such as ``10.0.0.0/8``."""
        return self._read(
            Variable(name, "list", ",".join(default), help),
            lambda name: _networks(self._environ.str(name)),
            default,
            "use networks such as 10.0.0.0/8, separated by commas",
        )

    def public_keys(self, name: str, help: str) -> list[str]:
        """Read comma-separated Ed25519 keys, each 32 bytes in base64."""

        def parse(name: str) -> list[str]:
            found = _words(self._environ.str(name))
            if any(len(base64.b64decode(key, validate=True)) != 32 for key in found):
                raise ValueError
            return found

        advice = "give what manage.py backup_key prints, several separated by commas"
        return self._read(Variable(name, "list", "", help), parse, [], advice)

    def rate(self, name: str, default: str, help: str) -> str:
        """Read a number of requests per period such as ``60/minute``; empty for no limit."""
        return self._read(
            Variable(name, "rate", default, help),
            lambda name: _rate(self._environ.str(name)),  # checked here, parsed at each use
            default,
            "use for example 60/minute",
        )

    def url(self, name: str, schemes: tuple[str, ...], help: str) -> str:
        """Read an address that begins with one of ``schemes``; empty when not set."""

        def parse(name: str) -> str:
            value = self._environ.str(name)
            if not value.startswith(tuple(f"{scheme}://" for scheme in schemes)):
                raise ValueError
            return value

        return self._read(
            Variable(name, "address", "", help), parse, "", f"begin with {schemes[0]}://"
        )

    def path_prefix(self, name: str, help: str) -> str:
        """Read a path such as ``/stages`` that begins every address; empty when not set.

        Reports SCRIPT_NAME, which gunicorn and uWSGI read by themselves, if it is another path.
        """

        def parse(name: str) -> str:
            value = self._environ.str(name)
            if value and not _PATH_PREFIX.fullmatch(value):
                raise ValueError
            return value

        prefix = self._read(
            Variable(name, "path", "", help), parse, "", "begin with / and do not end with it"
        )
        if os.environ.get("SCRIPT_NAME", prefix) != prefix:
            self.faults.append(f"SCRIPT_NAME is set alone: set {name} to the same path ({help})")
        return prefix

    def redis(self, name: str, seconds: float, help: str) -> dict[str, Any] | None:
        """Read a Redis address as cache settings (``redis_url.cache``); None when not set."""

        def parse(name: str) -> dict[str, Any]:
            from stagenorm import redis_url  # imports redis, which takes 0.1 s

            return redis_url.cache(self._environ.str(name), seconds)

        return self._read(
            Variable(name, "address", "", help),
            parse,
            None,
            "use redis://, rediss://, unix:// or redis+sentinel://",
        )

    def database(
        self,
        name: str,
        help: str,
        required: bool,
        shown: str = "demanded; with debug the embedded PostgreSQL",
    ) -> dict[str, Any] | None:
        """Read a ``postgresql://`` address as Django's database settings; None when not set.

        libpq parses the address.
        """
        variable = Variable(name, "address", shown, help)
        advice = "use postgresql://user:password@host:port/database"
        return self._read(
            variable,
            lambda name: database_settings(self._environ.str(name)),
            None,
            advice,
            required,
        )

    def secret(
        self, name: str, help: str, required: bool, made: str | None, at_least: int = 32
    ) -> str:
        """Read a secret of at least ``at_least`` characters; ``made`` is for development."""
        found = self._secret(name, help, required, made, at_least, lambda text: [text])
        return found[0] if found else ""

    def secrets(
        self, name: str, help: str, required: bool, made: str | None, at_least: int = 32
    ) -> list[str]:
        """Read comma-separated secrets, each of at least ``at_least`` characters."""
        return self._secret(name, help, required, made, at_least, _words)

    def _secret(
        self,
        name: str,
        help: str,
        required: bool,
        made: str | None,
        at_least: int,
        split: Callable[[str], list[str]],
    ) -> list[str]:
        def parse(name: str) -> list[str]:
            found = split(self._environ.str(name))
            if min(map(len, found)) < at_least:
                raise ValueError("too short")
            if any(map(_guessable, found)):
                raise ValueError("an example")
            return found

        variable = Variable(name, "secret", "demanded; with debug generated once", help)
        return self._read(
            variable,
            parse,
            [made] if made else [],
            f"give at least {at_least} random characters, not an example",
            required,
        )

    def finish(self) -> None:
        """Raise ImproperlyConfigured with one line per error found so far."""
        if self.faults:
            raise ImproperlyConfigured("\n".join(self.faults))

    def _read(
        self,
        variable: Variable,
        parse: Callable[[str], T],
        default: T,
        advice: str,
        required: bool = False,
    ) -> T:
        self.variables.append(variable)
        if variable.name not in os.environ:
            if required:
                self.faults.append(f"{variable.name} is not set: {advice} ({variable.help})")
            return default
        try:
            return parse(variable.name)
        except (environs.EnvError, ValueError, ProgrammingError, ImproperlyConfigured):
            # The message omits the value, which may be a secret.
            self.faults.append(f"{variable.name} is malformed: {advice} ({variable.help})")
            return default


def database_settings(url: str) -> dict[str, Any]:
    """Return Django's database settings for a libpq address.

    Raises ValueError or psycopg's ProgrammingError when it is malformed.
    """
    if not url.startswith(("postgresql://", "postgres://")):
        raise ValueError("not a PostgreSQL address")
    parts = {name: str(value) for name, value in conninfo_to_dict(url).items()}
    named = {key: parts.pop(part, "") for key, part in _DATABASE_PARTS.items()}
    if not named["NAME"]:
        raise ValueError("no database name")
    # libpq checks the port only when it connects.
    if not all(port.isdecimal() for port in named["PORT"].split(",") if port):
        raise ValueError("the port is not a number")
    return {"ENGINE": "stagenorm.database", **named, "OPTIONS": parts}


def libpq_parameters(database: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `psycopg.connect` takes for Django's settings of a database."""
    named = {part: str(database[key]) for key, part in _DATABASE_PARTS.items() if database[key]}
    return {**database["OPTIONS"], **named}


_DATABASE_PARTS = {
    "NAME": "dbname",
    "USER": "user",
    "PASSWORD": "password",
    "HOST": "host",
    "PORT": "port",
}


def development_file(directory: Path) -> Mapping[str, str]:
    """Return the development settings in ``<directory>/env``.

    Creates the file (0600) with new secrets if it does not exist.
    """
    place = directory / "env"
    if not place.exists():
        _write_development_file(place)
    pairs = (
        line.split("=", 1)
        for line in place.read_text().splitlines()
        if "=" in line and not line.startswith("#")
    )
    return {line[0]: line[1] for line in pairs}


_MADE_SECRETS = ("DJANGO_SECRET_KEY", "ALERTMANAGER_WEBHOOK_SECRETS")


def make_secret() -> str:
    """Return a random secret that the settings accept: one in 15,000 has an example's word."""
    while True:
        made = secrets.token_urlsafe(48)
        if not _guessable(made):
            return made


def _write_development_file(place: Path) -> None:
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lines = [
        "# Development settings, generated on first use; never used in production.",
        "DJANGO_DEBUG=1",
        *(f"{name}={make_secret()}" for name in _MADE_SECRETS),
    ]
    descriptor, draft = tempfile.mkstemp(dir=place.parent, prefix="env.")  # created with mode 0600
    with os.fdopen(descriptor, "w") as file:
        file.write("\n".join([*lines, ""]))
    try:
        # Of several processes the first one wins, and all read the same file.
        os.link(draft, place)
    except FileExistsError:
        pass
    finally:
        os.unlink(draft)


def adopt_development_file(directory: Path, environ: MutableMapping[str, str]) -> None:
    """Add the settings of ``<directory>/env``, if it exists, to ``environ``.

    Does nothing when ``environ`` already has DATABASE_URL or DJANGO_DEBUG.
    """
    if "DATABASE_URL" in environ or "DJANGO_DEBUG" in environ or not (directory / "env").exists():
        return
    for name, value in development_file(directory).items():
        environ.setdefault(name, value)


def table(variables: list[Variable]) -> str:
    """Return the Markdown table of docs/configuration.md."""
    rows = [f"| `{v.name}` | {v.kind} | {_shown(v.default)} | {v.help} |" for v in variables]
    return "\n".join(
        ["| variable | kind | default | meaning |", "| --- | --- | --- | --- |", *rows, ""]
    )


def _shown(default: str) -> str:
    return f"`{default}`" if default and " " not in default else default


_PATH_PREFIX: Final = re.compile(r"(/[A-Za-z0-9._~-]+)+")


def _words(value: str) -> list[str]:
    found = [word.strip() for word in value.split(",")]
    if not all(found):
        raise ValueError("an empty word")
    return found


# What documentation, templates and tutorials put in the place of a secret.
_EXAMPLES = (
    "example",
    "changeme",
    "change-me",
    "change_me",
    "placeholder",
    "insecure",
    "your-",
    "your_",
    "xxxx",
)


def _guessable(secret: str) -> bool:
    """Return whether the secret is an example, or has too few different characters."""
    return len(set(secret)) < 8 or any(word in secret.lower() for word in _EXAMPLES)


def _one_of(value: str, options: tuple[str, ...]) -> str:
    if value not in options:
        raise ValueError(value)
    return value


def _networks(value: str) -> list[str]:
    found = _words(value) if value else []
    for text in found:
        ipaddress.ip_network(text, strict=False)
    return found


def _rate(value: str) -> str:
    if value:  # empty: no limit
        parse_rate(value)
    return value


PERIODS = {"second": 1, "minute": 60, "hour": 3_600, "day": 86_400}


def parse_rate(rate: str) -> tuple[int, int]:
    """Return the number of requests and the period in seconds: (60, 60) for `"60/minute"`.

    Raises ImproperlyConfigured unless the rate is a positive whole number per second, minute,
    hour or day.
    """
    number, _, period = rate.partition("/")
    if not (number.isascii() and number.isdigit() and int(number) > 0 and period in PERIODS):
        raise ImproperlyConfigured(
            f"A throttle rate is N/second, N/minute, N/hour or N/day, not {rate!r}."
        )
    return int(number), PERIODS[period]
