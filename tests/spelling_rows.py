"""Stored spellings and decisions on them, for the tests of the spelling inbox."""

from __future__ import annotations

from normalization import decisions
from normalization.decision_file import DecisionRow
from normalization.decision_warnings import DecisionVerdict
from normalization.models import DecisionBatch
from normalization.stages import Stage
from stagenorm.portfolio.models import Fund, PortfolioCompany


def stored(rows: dict[str, int]) -> None:
    """Add companies: for each text, the number of companies with it."""
    fund, _ = Fund.objects.get_or_create(name="Fund")
    PortfolioCompany.objects.bulk_create(
        PortfolioCompany(fund=fund, name=f"company {number}", stage=text)
        for text, times in rows.items()
        for number in range(times)
    )


def decide(*spellings: str, verdict: DecisionVerdict = DecisionVerdict.OUTSIDE) -> int:
    """Decide the spellings as the admin does, warnings confirmed, and return the new version."""
    stage = Stage.SEED if verdict is DecisionVerdict.STAGE else None
    rows = [DecisionRow(each, verdict, stage, source="test") for each in spellings]
    result = decisions.apply(
        decisions.plan(rows), author="ann", source=DecisionBatch.Source.ADMIN, confirmed=spellings
    )
    return result.version
