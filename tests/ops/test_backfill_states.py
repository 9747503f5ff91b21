"""The states of a run: every one is in the table, every edge has a reason, and the docs show the
same picture.
"""

import pytest

from ops.backfill.states import (
    TRANSITIONS,
    UNFINISHED,
    RunState,
    TransitionRefused,
    diagram,
    refuse_unless_possible,
)
from tests.servers import ROOT


def test_every_state_says_where_it_can_go() -> None:
    assert set(TRANSITIONS) == set(RunState)
    assert all(reason for targets in TRANSITIONS.values() for reason in targets.values())


def test_every_state_can_be_reached_from_planned() -> None:
    reached = {RunState.PLANNED}
    for _ in RunState:
        reached |= {target for source in reached for target in TRANSITIONS[source]}
    assert reached == set(RunState)


def test_every_unfinished_run_can_be_ended() -> None:
    assert all(RunState.CANCELLED in TRANSITIONS[state] for state in UNFINISHED)


@pytest.mark.parametrize("source", RunState)
@pytest.mark.parametrize("target", RunState)
def test_what_the_table_does_not_have_is_refused_and_says_what_is_possible(
    source: RunState, target: RunState
) -> None:
    if target in TRANSITIONS[source]:
        refuse_unless_possible(source, target)
        return
    with pytest.raises(TransitionRefused, match=f"{source} cannot become {target}"):
        refuse_unless_possible(source, target)


def test_the_docs_show_the_same_diagram() -> None:
    assert diagram() in (ROOT / "docs" / "backfill.md").read_text(encoding="utf-8")
