"""Clients act between batches: no update is lost and every row is normalized, against a model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ops.backfill import control
from ops.backfill import pacing as pace
from ops.backfill.models import BackfillRun
from tests.backfill_runs import (
    CANONICAL,
    MESSY,
    QUICK,
    UNKNOWN,
    Heard,
    begin,
    execute,
    logged,
    normalized,
    rewrite,
    store,
    stored,
    work,
)

pytestmark = pytest.mark.django_db(transaction=True)

STAGES = st.sampled_from(
    [*MESSY, *CANONICAL, *UNKNOWN, "SEED\tROUND", "Series\u2013B", "unheard of"]
)
ACTS = st.one_of(
    st.tuples(st.just("insert"), STAGES, st.integers(0, 10**6)),
    st.tuples(st.just("update"), STAGES, st.integers(0, 10**6)),
    st.tuples(st.just("delete"), st.just(""), st.integers(0, 10**6)),
    st.tuples(st.just("crash"), st.just(""), st.integers(1, 40)),
)


class _Crash(BaseException):
    """The process ends here, without cleaning up."""


class Clients:
    """Acts on the rows between batches, and keeps what the rows have to mean in the end."""

    def __init__(self, wanted: dict[int, str]) -> None:
        self.wanted = wanted
        self.written: set[int] = set()

    def act(self, kind: str, stage: str, number: int) -> None:
        if kind == "crash":
            raise _Crash
        if kind == "insert":
            self.wanted[store([stage])[0]] = stage
        elif self.wanted:
            key = sorted(self.wanted)[number % len(self.wanted)]
            self.written.add(key)
            if kind == "delete":
                execute("DELETE FROM portfolio_companies WHERE id = %s", [key])
                del self.wanted[key]
            else:
                rewrite(stage, [key])
                self.wanted[key] = stage


@given(
    st.lists(STAGES, min_size=1, max_size=60),
    st.lists(st.lists(ACTS, max_size=3), max_size=8),
    st.integers(1, 25),
)
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_no_update_is_lost_and_every_row_is_normalized(
    stages: list[str], acts: list[list[Any]], size: int
) -> None:
    execute("TRUNCATE portfolio_companies")
    ids = store(stages)
    clients = Clients(dict(zip(ids, stages, strict=True)))
    given_first = dict(clients.wanted)
    run = begin(replace(QUICK, batch_size=size))
    with pytest.MonkeyPatch.context() as patch:
        # Batches of `size` rows all along, or the second one would take all there is.
        patch.setattr(pace, "SMALLEST", size)
        patch.setattr(pace, "TARGET_SECONDS", 1e-9)
        _to_the_end(run, clients, acts)
    assert stored() == normalized(clients.wanted)
    entries = logged(run)
    untouched = [key for key, _, _ in entries if key not in clients.written]
    assert len(untouched) == len(set(untouched))
    work(control.begin_undo(run.pk, QUICK, "tests"))
    back = stored()
    assert {key: back[key] for key in given_first if key not in clients.written} == {
        key: raw for key, raw in given_first.items() if key not in clients.written
    }


def _to_the_end(run: BackfillRun, clients: Clients, acts: list[list[Any]]) -> None:
    left = list(acts)

    def between() -> None:
        for kind, stage, number in left.pop(0) if left else []:
            clients.act(kind, stage, number)

    options = None
    while True:
        try:
            finish = work(run, Heard(after_each=between), options)
        except _Crash:
            BackfillRun.objects.filter(pk=run.pk).update(lease_backend=0)
            options = replace(QUICK, batch_size=1 + run.batch_size % 7)
            continue
        assert finish.trouble == ""
        return
