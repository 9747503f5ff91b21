"""The states of a run: the table is complete, each edge has a reason, as the docs show."""

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


def test_the_table_has_every_state_and_a_reason_for_every_edge() -> None:
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
def test_a_missing_edge_is_refused_and_the_message_names_the_possible_ones(
    source: RunState, target: RunState
) -> None:
    if target in TRANSITIONS[source]:
        refuse_unless_possible(source, target)
        return
    with pytest.raises(TransitionRefused, match=f"{source} cannot become {target}"):
        refuse_unless_possible(source, target)


def test_the_docs_show_the_same_diagram() -> None:
    assert diagram() in (ROOT / "docs" / "backfill.md").read_text(encoding="utf-8")
