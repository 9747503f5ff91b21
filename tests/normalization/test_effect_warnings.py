"""What speaks against a change of decisions because of its effects, and where it is asked."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from normalization import decisions
from normalization.decision_effects import ClientChange, DecisionEffects, RowsChange
from normalization.decision_file import DecisionRow, write
from normalization.decision_plan import make_plan
from normalization.decision_warnings import DecisionVerdict
from normalization.effect_warnings import EffectWarning, effect_warnings
from normalization.stages import Stage
from stagenorm.portfolio.models import Fund, PortfolioCompany, PortfolioStrategy
from stagenorm.portfolio.models import StrategyStageAllocation as Allocation
from tests.decided import active, decide, row

OUTSIDE = DecisionVerdict.OUTSIDE
ROUND = row("1st Round", OUTSIDE)


def lost(rows: int, every: int, after: str = "outside", fund: int | None = 7) -> DecisionEffects:
    """Effects: so many rows of a fund's `every` rows mean series-a today and then `after`."""
    change = RowsChange("companies", fund, "series-a", after)
    return DecisionEffects({change: rows}, {}, {("companies", fund): every})


def gained(rows: int) -> DecisionEffects:
    """Effects: undecided rows get a stage."""
    return DecisionEffects({RowsChange("companies", 7, "undecided", "seed"): rows}, {})


def refusing(**requests: int) -> DecisionEffects:
    """Effects: enforce newly refuses so many stages of each client."""
    return DecisionEffects(
        {}, {name: ClientChange(refused=times) for name, times in requests.items()}
    )


def found(
    effects: DecisionEffects, new: DecisionRow | None = None, *before: DecisionRow
) -> list[EffectWarning]:
    plan = make_plan([new] if new else [], {each.key: each for each in before}, 1)
    return list(effect_warnings(plan, effects, before))


NONE = DecisionEffects({}, {})


@pytest.mark.parametrize(
    ("effects", "codes"),
    [
        (NONE, []),
        (gained(900), []),
        (lost(10, 1_000), ["derived_before"]),
        (lost(11, 1_000), ["many_rows", "derived_before"]),
        (lost(1, 1, "series-b", None), ["many_rows", "derived_before"]),
        (DecisionEffects({}, {}, merged=2), ["merged"]),
        (refusing(desk=3, flow=5), ["newly_refused"]),
        (refusing(desk=0), []),
    ],
)
def test_effects_are_warned_of(effects: DecisionEffects, codes: list[str]) -> None:
    warnings = found(effects)
    assert [each.code for each in warnings] == codes
    assert {each.code for each in warnings if each.hard} == {"many_rows"} & set(codes)


@pytest.mark.parametrize(
    ("new", "before", "warned"),
    [
        (row("2nd Round", OUTSIDE), [], False),
        (row("2nd Round", OUTSIDE), [ROUND], False),
        (row("2nd Round", Stage.SEED), [ROUND], True),
        (row("2nd Round", Stage.SEED), [row("Grant", OUTSIDE)], False),
        (row("2nd Round", DecisionVerdict.OPEN), [ROUND], False),
        # The only sibling is the decision that is replaced.
        (row("1st Round", Stage.SEED), [ROUND], False),
    ],
)
def test_siblings_of_a_group_that_were_decided_otherwise_are_warned_of(
    new: DecisionRow, before: list[DecisionRow], warned: bool
) -> None:
    assert [each.code for each in found(NONE, new, *before)] == ["siblings"] * warned


def test_the_sentences_name_places_clients_and_stages() -> None:
    assert found(lost(11, 1_000))[0].sentence == (
        "11 of 1,000 rows of companies, fund 7 lose the stage that they mean today."
    )
    assert "refuse flow 5, b 4, c 4 and 1 more clients." in (
        found(refusing(c=4, b=4, d=1, flow=5))[0].sentence
    )
    assert found(NONE, row("2nd Round", Stage.SEED), ROUND)[0].sentence.endswith(
        "were decided outside before. You chose seed."
    )


@pytest.mark.django_db
def test_merged_allocations_and_many_rows_are_found_in_the_database_and_confirmed_once(
    tmp_path: Path,
) -> None:
    fund = Fund.objects.create(name="Alder")
    stored = ["Angel"] * 2 + ["seed"] * 100
    PortfolioCompany.objects.bulk_create(
        PortfolioCompany(fund=fund, name="c", stage_raw=text) for text in stored
    )
    for spellings in (("Angel", "seed"), ("Angel", "series-a"), ("seed", "Seed Round")):
        strategy = PortfolioStrategy.objects.create(fund=fund, name="-".join(spellings))
        for position, text in enumerate(spellings):
            Allocation.objects.create(
                strategy=strategy, spelling=text, weight=0.5, position=position
            )
    decide("Angel", Stage.PRE_SEED)
    version = decisions.version()
    file = tmp_path / "decisions.csv"
    becomes = DecisionRow("Angel", DecisionVerdict.STAGE, Stage.SEED, source="us: confirmed")
    file.write_text(write([becomes]), encoding="utf-8")
    plan = decisions.plan([becomes])
    words = ("stage_decisions", "apply", str(file), "--plan", plan.hash)
    shown = io.StringIO()
    call_command("stage_decisions", "plan", str(file), stdout=shown)
    for code in ("many_rows", "derived_before", "merged", "1 strategy"):
        assert code in shown.getvalue()
    with pytest.raises(CommandError, match="2 of 102 rows of portfolio_companies, fund"):
        call_command(*words)
    assert decisions.version() == version
    with pytest.raises(SystemExit):  # status 4: rows need a backfill
        call_command(*words, "--confirm-effects", stdout=io.StringIO())
    assert active() == {"angel": "seed"}
