"""Starter packs: reviewed decisions for the vocabularies of well-known sources.

One CSV file per kind of sender, in the form of `decision_file`. A pack is offered where its
spellings overlap with what a client sends, and applied only on an operator's order. Its rows
with the verdict `choose` are shown with their note and never applied. `ONLY_FOR` names the
packs whose spellings mean something else in other sources.
"""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

from normalization.decision_file import DecisionRow, read
from normalization.decision_warnings import DecisionVerdict

ONLY_FOR: Final = {
    "crunchbase": "“SeriesC” is only for clients that send the enumeration SeriesA to SeriesJ; "
    "elsewhere its plus may be lost. Every other row is for all clients.",
    "crunchbase-round-codes": "Only for clients that send Crunchbase's column of round codes. "
    "Elsewhere a lone letter is a share class, a grade or a size.",
}
"""Packs, or rows of them, for certain clients only. The other packs are for every client."""


@dataclass(frozen=True, slots=True)
class Pack:
    """One starter pack. `only_for` is empty when it is for every client."""

    name: str
    rows: tuple[DecisionRow, ...]
    only_for: str

    @property
    def decided(self) -> tuple[DecisionRow, ...]:
        """The rows that the pack decides."""
        return tuple(row for row in self.rows if row.verdict is not DecisionVerdict.CHOOSE)

    @property
    def to_choose(self) -> tuple[DecisionRow, ...]:
        """The rows that the operator has to decide."""
        return tuple(row for row in self.rows if row.verdict is DecisionVerdict.CHOOSE)


@cache
def load_packs() -> dict[str, Pack]:
    """Return every pack by its name, in alphabetical order. Read once per process."""
    folder = files(__name__)
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".csv"))
    return {pack.name: pack for pack in map(_load, names)}


def _load(file_name: str) -> Pack:
    name = file_name.removesuffix(".csv")
    rows = read((files(__name__) / file_name).read_bytes(), pack=True)
    return Pack(name, rows, ONLY_FOR.get(name, ""))
