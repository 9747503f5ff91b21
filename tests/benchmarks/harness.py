"""How `make bench` measures: against a baseline, in the same run, in turns.

The speed of a shared machine varies. A benchmark therefore times its subject and its baseline in
turns (A B, B A, A B …) and takes the median of the ratios: what slows both down cancels out.

    both = compare(subject, baseline)           # two callables that do the same amount of work
    hold(Ratio("normalize, seen before", goal=5, measured=both.ratio))

`hold` adds the figure to the table at the end of the run (and to the file that BENCH_JSON names),
then fails the test if the goal is missed. Absolute goals:
`Ratio(name, goal=20, measured=median_ns(f) / 1000, unit="µs")`; goals that
are a least value: `at_least=True`.
"""

import gc
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import perf_counter_ns

from rich.console import Console
from rich.table import Table

Work = Callable[[], object]


@dataclass(frozen=True)
class Ratio:
    """One figure and the goal it is held to. `goal` None: reported only."""

    name: str
    goal: float | None
    measured: float
    unit: str = "x"
    at_least: bool = False
    note: str = ""

    @property
    def held(self) -> bool:
        """Whether the goal is met."""
        if self.goal is None:
            return True
        return self.measured >= self.goal if self.at_least else self.measured <= self.goal


@dataclass(frozen=True)
class Comparison:
    """Medians over the rounds, in ns for a whole call, and the median of the rounds' ratios."""

    subject_ns: float
    baseline_ns: float
    ratio: float


MEASURED: list[Ratio] = []


def compare(
    subject: Work, baseline: Work, rounds: int = 41, before: Work = lambda: None
) -> Comparison:
    """Time both in turns. A call should last at least 0.1 ms: a faster one needs a loop inside.

    `before` is called ahead of every timed call, and is not timed itself.
    """
    both = (subject, baseline)
    for work in both:
        _elapsed(work, before)
    pairs = []
    for number in range(rounds):
        # Baseline first in every other round, so that neither always finds the caches warm.
        times = {work: _elapsed(work, before) for work in (both if number % 2 else both[::-1])}
        pairs.append((times[subject], times[baseline]))
    return Comparison(
        subject_ns=median(a for a, _ in pairs),
        baseline_ns=median(b for _, b in pairs),
        ratio=median(a / b for a, b in pairs),
    )


def median_ns(subject: Work, rounds: int = 41, before: Work = lambda: None) -> float:
    """The median time of one call, for goals that are given in time."""
    return median([_elapsed(subject, before) for _ in range(rounds + 1)][1:])


def hold(ratio: Ratio) -> None:
    """Remember the figure, then fail if its goal is missed."""
    MEASURED.append(ratio)
    assert ratio.held, (
        f"{ratio.name}: {ratio.measured:.3g} {ratio.unit}, goal {ratio.goal} {ratio.unit}"
    )


def report() -> None:
    """Print the figures of the run as a table, and write them to the file BENCH_JSON."""
    if not MEASURED:
        return
    table = Table(title="Benchmarks", title_justify="left")
    for heading in ("what", "measured", "goal", "held", "note"):
        table.add_column(heading, justify="right" if heading in ("measured", "goal") else "left")
    for one in MEASURED:
        goal = (
            "-" if one.goal is None else f"{'≥' if one.at_least else '≤'} {one.goal:g} {one.unit}"
        )
        held = "-" if one.goal is None else "yes" if one.held else "NO"
        table.add_row(one.name, f"{one.measured:.3g} {one.unit}", goal, held, one.note)
    Console(width=140).print(table)
    if path := os.environ.get("BENCH_JSON"):
        figures = [asdict(one) | {"held": one.held} for one in MEASURED]
        Path(path).write_text(
            json.dumps(figures, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )


def _elapsed(work: Work, before: Work = lambda: None) -> int:
    before()
    collecting = gc.isenabled()
    gc.disable()
    try:
        start = perf_counter_ns()
        work()
        return perf_counter_ns() - start
    finally:
        if collecting:
            gc.enable()
