"""The chart of outcomes draws every counted request, inside the picture and visibly."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from normalization.outcomes import OUTCOMES
from ops.pages.charts import (
    BASE,
    LEAST_HEIGHT,
    LEFT,
    TOP,
    WIDTH,
    Chart,
    ChartChange,
    StepCounts,
    draw,
    scale,
)
from ops.pages.periods import DAY, HOUR, WEEK, Period

NOW = datetime(2026, 7, 1, 12, 34, 56, tzinfo=UTC)
MINUTE = NOW.replace(second=0)
minutes = st.integers(0, 59).map(lambda back: MINUTE - timedelta(minutes=back))
counted = st.dictionaries(
    st.tuples(minutes, st.sampled_from(OUTCOMES)),
    st.integers(0, 10**7),
)


def drawn(counts: StepCounts, period: Period = HOUR) -> Chart:
    return draw(period, NOW, counts)


@pytest.mark.parametrize(
    ("period", "first", "last"),
    [(HOUR, datetime(2026, 7, 1, 11, 35), datetime(2026, 7, 1, 12, 34)),
     (DAY, datetime(2026, 6, 30, 13), datetime(2026, 7, 1, 12)),
     (WEEK, datetime(2026, 6, 24, 15), datetime(2026, 7, 1, 12))],
)  # fmt: skip
def test_a_period_ends_with_the_current_step(
    period: Period, first: datetime, last: datetime
) -> None:
    starts = period.starts(NOW)
    assert (starts[0], starts[-1], len(starts)) == (
        first.replace(tzinfo=UTC),
        last.replace(tzinfo=UTC),
        period.columns,
    )
    assert {after - before for before, after in pairwise(starts)} == {period.step}


@given(counted)
def test_the_chart_adds_up_to_what_was_counted(counts: dict[tuple[datetime, str], int]) -> None:
    chart = drawn(counts)
    assert chart.total == sum(counts.values()) == sum(share.requests for share in chart.legend)
    drawn_requests = {
        (column.starts_at, segment.outcome): segment.requests
        for column in chart.columns
        for segment in column.segments
    }
    assert drawn_requests == {key: requests for key, requests in counts.items() if requests}


@given(counted)
def test_every_segment_stands_on_the_one_below_within_the_picture(
    counts: dict[tuple[datetime, str], int],
) -> None:
    chart = drawn(counts)
    for column in chart.columns:
        assert LEFT <= column.room_x <= column.x <= column.x + chart.bar <= WIDTH
        floor = BASE
        for segment in column.segments:
            assert segment.y + segment.height == pytest.approx(floor, abs=0.05)
            assert segment.height >= LEAST_HEIGHT
            floor = segment.y
        assert floor >= TOP - LEAST_HEIGHT * len(OUTCOMES)


def test_heights_are_in_proportion() -> None:
    now = NOW.replace(second=0)
    (column,) = [
        each
        for each in drawn({(now, "canonical"): 300, (now, "rejected"): 100}).columns
        if each.total
    ]
    canonical, rejected = column.segments
    assert (canonical.outcome, rejected.outcome) == ("canonical", "rejected")
    assert canonical.height == pytest.approx(3 * rejected.height, abs=0.05)


def test_one_rejected_request_beside_thousands_of_good_ones_is_visible() -> None:
    now = NOW.replace(second=0)
    (column,) = [
        each
        for each in drawn({(now, "canonical"): 50_000, (now, "rejected"): 1}).columns
        if each.total
    ]
    assert column.segments[-1].height == LEAST_HEIGHT


@pytest.mark.parametrize(
    ("most", "values"),
    [(0, [0, 1]), (1, [0, 1]), (3, [0, 1, 2, 3]), (7, [0, 2, 4, 6, 8]), (100, [0, 50, 100]),
     (1_234, [0, 500, 1_000, 1_500])],
)  # fmt: skip
def test_the_scale_has_round_whole_values_and_reaches_the_highest(
    most: int, values: list[int]
) -> None:
    assert scale(most) == values


@given(st.integers(0, 10**12))
def test_the_scale_has_two_to_six_lines(most: int) -> None:
    values = scale(most)
    assert values[0] == 0
    assert values[-1] >= most
    assert 2 <= len(values) <= 6


def test_times_are_labelled_at_round_steps() -> None:
    assert [tick.label for tick in drawn({}).times] == [
        "11:40",
        "11:50",
        "12:00",
        "12:10",
        "12:20",
        "12:30",
    ]
    assert [tick.label for tick in drawn({}, DAY).times] == [
        "16:00",
        "20:00",
        "00:00",
        "04:00",
        "08:00",
        "12:00",
    ]
    assert [tick.label for tick in drawn({}, WEEK).times] == [
        "06-25", "06-26", "06-27", "06-28", "06-29", "06-30", "07-01",
    ]  # fmt: skip
    assert drawn({}, WEEK).columns[-1].label == "07-01 12:00"


def test_changes_of_the_mode_are_marked_where_they_happened_and_only_within_the_period() -> None:
    changes = [ChartChange(NOW - timedelta(minutes=minutes), f"{minutes}") for minutes in (5, 90)]
    (mark,) = draw(HOUR, NOW, {}, changes).marks
    column = drawn({}).columns[-6]  # 12:29, in which 12:29:56 lies
    assert mark.label == "5"
    assert column.room_x <= mark.at <= column.room_x + drawn({}).room
