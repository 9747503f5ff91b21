"""The states of a run: every one is in the table, every edge has a reason, and the docs show the same picture."""

import pytest

from ops.backfill.states import (
    TRANSITIONS,
    UNFINISHED,
    State,
    TransitionRefused,
    diagram,
    refuse_unless_possible,
)
from tests.servers import ROOT


def test_every_state_says_where_it_can_go() -> None:
    assert set(TRANSITIONS) == set(State)
    assert all(reason for targets in TRANSITIONS.values() for reason in targets.values())


def test_every_state_can_be_reached_from_planned() -> None:
    reached = {State.PLANNED}
    for _ in State:
        reached |= {target for source in reached for target in TRANSITIONS[source]}
    assert reached == set(State)


def test_every_unfinished_run_can_be_ended() -> None:
    assert all(State.CANCELLED in TRANSITIONS[state] for state in UNFINISHED)


@pytest.mark.parametrize("source", State)
@pytest.mark.parametrize("target", State)
def test_what_the_table_does_not_have_is_refused_and_says_what_is_possible(
    source: State, target: State
) -> None:
    if target in TRANSITIONS[source]:
        refuse_unless_possible(source, target)
        return
    with pytest.raises(TransitionRefused, match=f"{source} cannot become {target}"):
        refuse_unless_possible(source, target)


def test_the_docs_show_the_same_diagram() -> None:
    assert diagram() in (ROOT / "docs" / "backfill.md").read_text(encoding="utf-8")
