"""After any history, one more run makes every stage what today's decisions give to its text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rest_framework.test import APIClient

from normalization import decision_store
from normalization.decision_warnings import DecisionVerdict
from normalization.stages import BUILTIN, Stage, fold, normalize, stage_name
from ops.backfill import control
from ops.backfill.models import BackfillRun, RunKind
from ops.backfill.stored import stored_stages
from stagenorm.portfolio.keys import create_key
from stagenorm.portfolio.models import Fund, PortfolioCompany, StrategyStageAllocation
from tests.backfill_runs import QUICK, begin, execute, store, work
from tests.decided import active, decide, retire
from tests.imported import import_text

pytestmark = pytest.mark.django_db(transaction=True)

TEXTS = st.sampled_from(["Foo", " foo", "Bar", "Grant", "Series A", "series-b", "SEED", "x y"])
VERDICTS = st.sampled_from([Stage.SEED, Stage.SERIES_B, DecisionVerdict.OUTSIDE])
STEPS = st.one_of(
    st.tuples(st.just("decide"), TEXTS, VERDICTS),
    st.tuples(st.just("retire"), TEXTS, st.none()),
    st.tuples(st.just("post"), TEXTS, TEXTS),
    st.tuples(st.just("import"), TEXTS, TEXTS),
    st.tuples(st.just("earlier release"), TEXTS, TEXTS),
    st.tuples(st.just("run"), st.none(), st.none()),
    st.tuples(st.just("undo"), st.none(), st.none()),
)


class History:
    """Carries out steps, and remembers the text of each row as it came."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.fund = Fund.objects.create(name="Law")
        self.api = APIClient()
        self.api.credentials(HTTP_AUTHORIZATION=f"Api-Key {create_key('law')[1]}")
        self.companies: dict[int, str] = {}
        self.allocations: dict[int, str] = {}

    def act(self, step: str, one: Any, other: Any) -> None:
        getattr(self, "_" + step.replace(" ", "_"))(one, other)
        decision_store.forget()

    def _decide(self, text: str, verdict: Stage | DecisionVerdict) -> None:
        if not BUILTIN.holds(fold(text)) and active().get(fold(text)) != verdict.value:
            decide(text, verdict)

    def _retire(self, text: str, _: None) -> None:
        if fold(text) in active():
            retire(text)

    def _post(self, one: str, other: str) -> None:
        weights = {one: 1.0} if one == other else {one: 0.5, other: 0.5}
        body = {"fund_id": self.fund.pk, "name": "s", "stage_allocation": weights}
        answer = self.api.post("/api/portfolio/strategies", body, format="json")
        assert answer.status_code == 201, answer.content
        for row in StrategyStageAllocation.objects.filter(strategy=answer.json()["id"]):
            assert row.spelling in weights
            self.allocations[row.pk] = row.spelling

    def _import(self, one: str, other: str) -> None:
        number = PortfolioCompany.objects.count()  # other names: these are other companies
        lines = f"name,stage\nA {number},{one}\nB {number},{other}\n"
        import_text(self.directory, self.fund, lines)
        new = PortfolioCompany.objects.order_by("-pk")[:2]
        self.companies |= {row.pk: text for row, text in zip(new, (other, one), strict=True)}

    def _earlier_release(self, one: str, other: str) -> None:
        self.companies |= dict(zip(store([one, other]), (one, other), strict=True))

    def _run(self, _: None, __: None) -> None:
        assert work(begin()).trouble == ""

    def _undo(self, _: None, __: None) -> None:
        runs = BackfillRun.objects.filter(kind=RunKind.APPLY, state="completed")
        wrote = runs.filter(checkpoints__changed__gt=0)
        if wrote.exists():
            newest = wrote.latest("pk").pk
            assert work(control.begin_undo(newest, QUICK, "tests")).trouble == ""


@given(st.lists(STEPS, min_size=3, max_size=9))
@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_one_more_run_makes_every_stage_what_its_text_means_and_no_text_ever_changes(
    tmp_path: Path, steps: list[tuple[str, Any, Any]]
) -> None:
    execute(
        "TRUNCATE portfolio_companies, portfolio_portfoliostrategy, stage_normalization_log, "
        "stage_migration_control, normalization_stagedecision, normalization_decisionbatch, "
        "portfolio_fund CASCADE"
    )
    decision_store.forget()
    history = History(tmp_path)
    for step in steps:
        history.act(*step)
    assert work(begin()).trouble == ""
    table = decision_store.newest()
    companies = PortfolioCompany.objects.values_list("pk", "stage_raw", "stage")
    allocations = StrategyStageAllocation.objects.values_list("pk", "spelling", "stage")
    for rows, came in ((companies, history.companies), (allocations, history.allocations)):
        assert {key: raw for key, raw, _ in rows} == came
        for _, raw, stage in rows:
            assert stage == stage_name(normalize(raw, table))
    facts = stored_stages()
    assert (facts.rows, facts.not_derived) == (len(companies) + len(allocations), 0)
