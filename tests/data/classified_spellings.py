"""The 1,104 public spellings that the built-in table does not know, each classified by hand.

`classified_spellings.csv` has a class per spelling: A1 to A3 certainly mean one of the six stages,
B is outside, P is outside unless a house decides otherwise, C is left to the operator.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

from normalization.decision_warnings import DecisionVerdict
from normalization.stages import Stage

FILE = Path(__file__).parent / "classified_spellings.csv"


@dataclass(frozen=True)
class Classified:
    """One spelling, how many public rows hold it, and what is decided right about it."""

    raw: str
    rows: int
    category: str
    verdict: DecisionVerdict
    stage: Stage | None

    @property
    def decision(self) -> tuple[DecisionVerdict, Stage | None]:
        """The right decision."""
        return self.verdict, self.stage


def classified_spellings() -> list[Classified]:
    """Every classified spelling, the most frequent first."""
    with FILE.open(newline="", encoding="utf-8") as file:
        return [_classified(row) for row in csv.DictReader(file)]


def _classified(row: dict[str, str]) -> Classified:
    verdict = {"A": DecisionVerdict.STAGE, "C": DecisionVerdict.CHOOSE}.get(
        row["class"][0], DecisionVerdict.OUTSIDE
    )
    stage = Stage(row["stage"]) if verdict is DecisionVerdict.STAGE else None
    return Classified(row["raw"], int(row["rows"]), row["class"], verdict, stage)
