"""Batches steer to half a second, shrink while clients wait, and rest as configured."""

import pytest

from ops.backfill.models import LARGEST_BATCH as LARGEST
from ops.backfill.pacing import SMALLEST, SMALLEST_CONTENDED, Pace


@pytest.mark.parametrize(
    ("size", "seconds", "contended", "then"),
    [
        (5000, 0.5, False, 5000),
        (5000, 0.25, False, 10_000),
        (5000, 0.001, False, 10_000),
        (5000, 1.0, False, 2500),
        (5000, 50.0, False, SMALLEST),
        (LARGEST, 0.01, False, LARGEST),
        (5000, 0.25, True, 2500),
        (600, 0.25, True, SMALLEST_CONTENDED),
    ],
)
def test_the_next_size_follows_from_time_and_contention(
    size: int, seconds: float, contended: bool, then: int
) -> None:
    pace = Pace(size)
    pace.note(seconds, contended)
    assert pace.size == then


def test_after_contention_batches_grow_back_slowly() -> None:
    pace = Pace(8000)
    pace.note(0.1, contended=True)
    sizes = []
    for _ in range(20):
        pace.note(0.1, contended=False)
        sizes.append(pace.size)
    assert sizes == sorted(sizes)
    assert sizes[0] < 5000 < 8000 < sizes[-1]


def test_no_batch_is_larger_than_allowed() -> None:
    pace = Pace(50, largest=80)
    for _ in range(5):
        pace.note(0.01, contended=False)
    assert pace.size == 80


@pytest.mark.parametrize(
    ("pace", "rest"), [(Pace(1), 0.1), (Pace(1, 0), 0.0), (Pace(1, backoff_share=0.5), 0.2)]
)
def test_the_rest_is_fixed_or_a_share_of_the_batch(pace: Pace, rest: float) -> None:
    assert pace.rest(0.4) == pytest.approx(rest)
