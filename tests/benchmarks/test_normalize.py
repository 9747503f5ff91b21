"""The speed of `normalize`. Each round builds new spellings, so that no string hash is cached."""

import unicodedata

import pytest
from rapidfuzz import fuzz, process

from normalization import stages
from normalization.stages import (
    BUILTIN,
    Known,
    OutsideEntry,
    SpellingTable,
    Stage,
    Unknown,
    normalize,
    normalize_all,
)
from tests.benchmarks.harness import Comparison, Ratio, compare, hold
from tests.data.write_mapped_spellings import vocabulary

READ = [normalize(raw) for raw in vocabulary()]
MAPPED = [known.raw for known in READ if isinstance(known, Known)]
UNKNOWN = [str(unknown.raw) for unknown in READ if isinstance(unknown, Unknown)]
TYPOS = [
    "Seires A",
    "Sereis B Fundng Round",
    "pre-sed rond",
    "S\u0435ries C+",
    "SeriesD round",
    "seriesc",
    "Serie A Financing",
]


def anew(texts: list[str], times: int = 1) -> list[str]:
    """Copies of the texts: equal, but objects whose hash is not known yet."""
    return ["".join((text[:1], text[1:])) for _ in range(times) for text in texts]


def nfkc_casefold(texts: list[str]) -> None:
    """The baseline: what any case- and form-insensitive look-up has to do at least."""
    for text in texts:
        unicodedata.normalize("NFKC", text).casefold()


def tables(decided: int) -> SpellingTable:
    """A table with that many decisions, which share no spelling with the public ones."""
    entries = {f"Fund Round No. {number}": OutsideEntry("round") for number in range(decided)}
    return BUILTIN.extended(entries, version=1)


def unseen(texts: list[str], rounds: int, decided: int = 0) -> Comparison:
    """Compare `normalize` on texts that are new in each round with the baseline."""
    table = tables(decided)
    copies: list[list[str]] = []

    def forget() -> None:
        for text in texts:
            if text not in stages._COMMON:
                table._seen.pop(text, None)
        copies[:] = [anew(texts)]

    def subject() -> None:
        for text in copies[0]:
            normalize(text, table)

    return compare(subject, lambda: nfkc_casefold(copies[0]), rounds, before=forget)


def suggested(texts: list[str]) -> Comparison:
    """Compare `normalize` on unknown texts with the nearest match of rapidfuzz, without rules."""
    table = BUILTIN.extended({}, version=0)
    keys = list(BUILTIN.keys())

    def forget() -> None:
        for text in texts:
            table._seen.pop(text, None)

    def subject() -> None:
        for text in texts:
            normalize(text, table)

    def nearest() -> None:
        for text in texts:
            process.extract(text, keys, scorer=fuzz.ratio, limit=2)

    return compare(subject, nearest, rounds=31, before=forget)


@pytest.mark.parametrize("decided", [0, 10_000])
def test_a_spelling_seen_before(decided: int) -> None:
    table = tables(decided)
    listed = [f"fund round no. {number}" for number in range(0, decided, 100)]
    texts = anew(MAPPED + UNKNOWN[:51] + listed, times=20)
    plain = dict.fromkeys(texts, Stage.SEED)
    normalize_all(texts, table)

    def subject() -> None:
        for text in texts:
            normalize(text, table)

    def bare() -> None:
        for text in texts:
            plain[text]

    both = compare(subject, bare)
    hold(
        Ratio(
            f"normalize, seen before, {decided:,} decisions / bare dict look-up",
            5,
            both.ratio,
            note=f"{both.subject_ns / len(texts):.0f} ns",
        )
    )


@pytest.mark.parametrize(("decided", "goal"), [(0, 2.0), (10_000, 2.2)])
def test_a_spelling_not_seen_before(decided: int, goal: float) -> None:
    both = unseen(MAPPED, rounds=301, decided=decided)
    note = f"the {len(MAPPED)} mapped public spellings; {both.subject_ns / len(MAPPED):.0f} ns"
    name = f"normalize, not seen before, {decided:,} decisions / NFKC + casefold"
    hold(Ratio(name, goal, both.ratio, note=note))


def test_an_unusual_spelling_not_seen_before() -> None:
    odd = [text.swapcase() for text in MAPPED if text.swapcase() not in stages._COMMON] + [
        f"{text}\t" for text in MAPPED
    ]
    both = unseen(odd, rounds=301)
    note = f"other capitals or padding; {both.subject_ns / len(odd):.0f} ns; once per spelling"
    name = "normalize, unusual and not seen before / NFKC + casefold"
    hold(Ratio(name, 7, both.ratio, note=note))


@pytest.mark.parametrize(
    ("name", "texts"), [("public unknown spellings", UNKNOWN), ("mistyped spellings", TYPOS)]
)
def test_an_unknown_spelling_with_its_suggestions(name: str, texts: list[str]) -> None:
    both = suggested(texts)
    note = f"{len(texts)} spellings; mean {both.subject_ns / len(texts) / 1e3:.1f} us"
    name = f"normalize, {name}, new / rapidfuzz's two nearest"
    hold(Ratio(name, 6, both.ratio, note=note))


def test_five_thousand_stages_at_once() -> None:
    texts = anew((list(stages._COMMON) + TYPOS + UNKNOWN[:500] + MAPPED * 40)[:5_000])
    assert len(texts) == 5_000
    plain = dict.fromkeys(texts, Stage.SEED)
    normalize_all(texts)
    both = compare(lambda: normalize_all(texts), lambda: [plain[text] for text in texts])
    note = f"{both.subject_ns / 1e6:.2f} ms"
    name = "normalize_all, 5,000 stages seen before / bare dict look-ups"
    hold(Ratio(name, 3, both.ratio, note=note))
