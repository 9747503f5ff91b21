"""Demonstration data: funds with companies in real stage spellings, an operator and a key.

Loading it again adds only missing data. The same seed gives the same companies on every machine.
"""

from __future__ import annotations

import csv
import io
import os
import random
import secrets
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from importlib import resources
from pathlib import Path
from typing import Final

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import connection, transaction

from normalization import decision_store
from normalization.stages import normalize, stage_name
from stagenorm.locks import DEMONSTRATION
from stagenorm.portfolio.keys import create_key
from stagenorm.portfolio.models import ApiKey, Fund, PortfolioCompany

OPERATOR: Final = "operator"
CLIENT: Final = "demo"
SEED: Final = 20_260_101

# name, size in million USD, vintage, companies
FUNDS: Final = (
    ("Alder Ventures I", 60, 2014, 600),
    ("Alder Ventures II", 140, 2018, 1_100),
    ("Harbor Street Seed Fund", 35, 2020, 900),
    ("Northlight Growth", 420, 2016, 800),
    ("Quarry Lane Climate Fund", 180, 2021, 1_000),
)
SECTORS: Final = (
    "Climate",
    "Consumer",
    "Data",
    "Education",
    "Fintech",
    "Health",
    "Industry",
    "Robotics",
    "Security",
    "",
)
FIRST: Final = (
    "Amber Arbor Basalt Beacon Birch Bright Brook Cedar Cinder Clear Cobalt Copper Coral Crest "
    "Delta Drift Ember Fern Field Flint Fox Garnet Glen Granite Harbor Hazel Heron Indigo Iron "
    "Juniper Kestrel Lark Linden Lumen Maple Marble Meadow Mica Moss North Oak Onyx Opal "
    "Orchard Osprey Pebble Pine Quartz Raven Reed Ridge River Rowan Sable Slate Sparrow Spruce "
    "Stone Summit Thistle Tide Timber Umber Vale Walnut Willow Wren"
)
SECOND: Final = (
    "base bloom bridge cast craft field flow forge gate grid hollow hub lane leaf line link loop "
    "mark mesh mill mind path point port scale scope shift signal span spring stack stead stream "
    "vault view ware wave way well works yard"
)
THIRD: Final = (
    "AI",
    "Analytics",
    "Bio",
    "Energy",
    "Health",
    "Labs",
    "Logistics",
    "Pay",
    "Robotics",
    "Systems",
)


@dataclass(frozen=True, slots=True)
class Demonstration:
    """What exists after loading. `password` is None if it was set elsewhere."""

    funds: int
    companies: int
    password: str | None
    key: str


def load() -> Demonstration:
    """Add the missing data in one transaction; return the counts and credentials."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [DEMONSTRATION])
        for name, millions, vintage, companies in FUNDS:
            _load_fund(name, millions, vintage, companies)
        password, key = _operator(), _key()
        return Demonstration(Fund.objects.count(), PortfolioCompany.objects.count(), password, key)


def vocabulary() -> tuple[list[str], list[int]]:
    """Return real stage spellings and their frequencies (cells may contain line ends)."""
    text = (
        resources.files("stagenorm.portfolio")
        .joinpath("demo/stage_vocabulary.csv")
        .read_bytes()
        .decode("utf-8")
    )
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    return [row["raw"] for row in rows], [int(row["count"]) for row in rows]


def _load_fund(name: str, millions: int, vintage: int, companies: int) -> None:
    details = {"size_usd": Decimal(millions) * 1_000_000, "vintage_year": vintage}
    fund, _ = Fund.objects.get_or_create(name=name, defaults=details)
    if not fund.companies.exists():
        PortfolioCompany.objects.bulk_create(_companies(fund, vintage, companies), batch_size=500)


def _companies(fund: Fund, vintage: int, number: int) -> Iterator[PortfolioCompany]:
    chance = random.Random(f"{SEED} {fund.name}")  # noqa: S311 - not a secret
    spellings, counts = vocabulary()
    table = decision_store.current()
    for raw in chance.choices(spellings, counts, k=number):
        invested = chance.random() < 0.9
        yield PortfolioCompany(
            fund=fund,
            name=_name(chance),
            stage_raw=raw,
            stage=stage_name(normalize(raw, table)),
            status=chance.choices(PortfolioCompany.Status.values, (78, 12, 10))[0],
            sector=chance.choice(SECTORS),
            invested_usd=Decimal(chance.randrange(50, 8_000)) * 1_000 if invested else None,
            invested_at=date(vintage, 1, 1) + timedelta(days=chance.randrange(4 * 365))
            if invested
            else None,
        )


def _name(chance: random.Random) -> str:
    name = chance.choice(FIRST.split()) + chance.choice(SECOND.split())
    return f"{name} {chance.choice(THIRD)}" if chance.random() < 0.5 else name


def _operator() -> str | None:
    """Return the operator's stored password; None if it was changed or set elsewhere."""
    place = settings.DATA_DIR / "operator-password"
    users = get_user_model().objects
    user = users.filter(username=OPERATOR).first()
    if user is None:
        password = _read(place) or secrets.token_urlsafe(15)
        users.create_superuser(OPERATOR, password=password)
        _keep(place, password)
        return password
    kept = _read(place)
    return kept if kept and user.check_password(kept) else None


def _key() -> str:
    """Return the stored key, or a new one if that is gone, revoked or expired."""
    place = settings.DATA_DIR / "demo-api-key"
    kept = _read(place)
    if kept:
        key = ApiKey.objects.filter(prefix=kept.partition(".")[0], revoked=False).first()
        if key is not None and key.is_valid(kept) and not key.has_expired:
            return kept
    _, text = create_key(CLIENT)
    _keep(place, text)
    return text


def _read(place: Path) -> str:
    return place.read_text("ascii").strip() if place.exists() else ""


def _keep(place: Path, secret: str) -> None:
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # mkstemp creates the file with mode 0600, so the secret is never readable by others.
    descriptor, draft = tempfile.mkstemp(dir=place.parent, prefix=place.name)
    with os.fdopen(descriptor, "w") as file:
        file.write(secret + "\n")
    os.replace(draft, place)
