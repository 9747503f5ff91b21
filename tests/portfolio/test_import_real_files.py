"""Ten small anonymous files in the manner of public deal lists: each line comes in.

One or two commands each: the plan (which names the missing option, where there is one), and the
import. The files of tests/data/imports were written for this test.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pytest

from stagenorm.portfolio.models import Fund, PortfolioCompany
from tests.imported import command

FILES = Path(__file__).parents[1] / "data" / "imports"


@dataclass(frozen=True)
class RealFile:
    """A file, the options that read it, its companies, and what is counted.

    `without_value` are cells that the plan counts as unreadable, `amounts` the amounts that are
    read, `dates` how many dates are.
    """

    name: str
    options: tuple[str, ...]
    lines: int
    amounts: tuple[int | str, ...] = ()
    dates: int = 0
    without_value: int = 0
    form: str | None = None


REAL_FILES = [
    RealFile(
        "india-2017-2020.csv",
        ("--map", "name=Startup Name,stage=InvestmentnType,sector=Industry Vertical,"
         "invested_usd=Amount in USD,invested_at=Date dd/mm/yyyy"),
        9, (200_000_000, 8_048_394, 18_358_860, 3_000_000, 1_800_000, 45_000_000), 8, 2, "d/m/y",
    ),
    RealFile(
        "india-2021.csv",
        ("--map", "name=Company/Brand,stage=Stage,sector=Sector,invested_usd=Amount($)",
         "--missing", "$Undisclosed"),
        8, (1_200_000, 120_000, 30_000_000, 51_000_000, 51_000_000), 0, 1,
    ),
    RealFile(
        "layoffs.csv",
        ("--map", "name=company,sector=industry,invested_at=date"), 8, (), 8, 0, "m/d/y",
    ),
    RealFile(
        "rounds-dump.csv",
        ("--map", "name=company_name,stage=funding_round_code|funding_round_type",
         "--map", "sector=company_category_list,invested_usd=raised_amount_usd",
         "--map", "invested_at=funded_at", "--key", "funding_round_permalink"),
        7, (10_000_000, 700_000, 41_250, 719_491, 2_000_000), 7, 0, "y-m-d",
    ),
    RealFile(
        "companies-dump.csv",
        ("--map", "stage=round_type,sector=category_list,invested_usd=funding_total_usd",
         "--map", "invested_at=last_funding_at",
         "--status", "operating=active,acquired=exited,ipo=exited,closed=written_off"),
        7, (1_750_000, 4_000_000, 40_000, 1_500_000, 60_000, 7_000_000), 7, 0, "y-m-d",
    ),
    RealFile(
        "nordic.csv",
        ("--map", "name=Bolag,stage=Runda,sector=Bransch,invested_usd=Belopp (USD)",
         "--map", "invested_at=Datum", "--decimal", ","),
        5, (1_500_000, "12250000.50", 750_000), 5, 1, "d/m/y",
    ),
    RealFile(
        "techcrunch-sample.csv",
        ("--map", "name=company,stage=round,sector=category,invested_usd=raisedAmt",
         "--map", "invested_at=fundedDate"),
        6, (6_850_000, 6_000_000, 50_000, 3_000_000, 250_000, 140_000), 6, 0, "d mon y",
    ),
    RealFile(
        "mac-export.csv",
        ("--encoding", "mac_roman", "--map", "stage=Round,invested_usd=Invested"),
        3, (250_000, 12_000_000),
    ),
    RealFile(
        "spreadsheet-unicode.txt",
        ("--map", "name=Company,invested_at=Date"), 3, (), 2, 0, "y-m-d",
    ),
    RealFile(
        "mixed-encodings.csv",
        ("--encoding", "utf-8+cp1252", "--map", "name=Organization Name,stage=Funding Type",
         "--map", "invested_usd=Money Raised (in USD),invested_at=Announced Date"),
        4, (1_200_000, 5_000_000), 4, 0, "mon d, y",
    ),
]  # fmt: skip


@pytest.mark.parametrize("real", REAL_FILES, ids=lambda real: real.name)
def test_a_file_in_the_manner_of_a_real_one_loses_no_line(real: RealFile, fund: Fund) -> None:
    plan, refusal = command(FILES / real.name, fund, *real.options)
    assert (refusal, plan["new"], plan["lines"]) == ("", real.lines, real.lines)
    assert plan["dates"] == real.form
    done, refusal = command(FILES / real.name, fund, *real.options, "--apply", plan["plan"])
    assert (refusal, done["imported"], done["rejected"]) == ("", real.lines, 0)
    assert sum(each["cells"] for each in done["values"]) == real.without_value
    stored = PortfolioCompany.objects.order_by("pk")
    amounts = stored.exclude(invested_usd=None).values_list("invested_usd", flat=True)
    expected = sorted(Decimal(each) for each in real.amounts)
    assert sorted(filter(None, amounts)) == expected
    assert stored.exclude(invested_at=None).count() == real.dates
    assert not stored.filter(name__regex="\\?|�").exists()


def test_every_file_is_in_the_table() -> None:
    assert {path.name for path in FILES.iterdir()} == {real.name for real in REAL_FILES}
