"""`normalize` answers for any object at all; the table behind it is bounded, closed and safe to share."""

import math
import operator
import threading
from collections.abc import Callable
from enum import StrEnum
from typing import Any, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from normalization import stages
from normalization.stages import (
    BUILTIN,
    LONGEST,
    MEMO_SIZE,
    Known,
    Outside,
    OutsideEntry,
    SpellingConflict,
    Stage,
    Unknown,
    fold,
    normalize,
    normalize_all,
)


class Hostile(str):
    """A text whose every method that a careless reader would call raises."""

    __slots__ = ()

    def refuse(self, *_: object) -> NoReturn:
        raise RuntimeError("read me by str's own methods")

    __hash__ = __eq__ = __len__ = __str__ = __repr__ = __bool__ = __format__ = refuse
    strip = casefold = lower = isascii = refuse


class Colour(StrEnum):
    SEED = "Seed"


def test_stages_are_ordered_from_pre_seed_to_series_c_plus() -> None:
    names = ["pre-seed", "seed", "series-a", "series-b", "series-c", "series-c+"]
    assert [stage.value for stage in Stage] == names
    assert sorted(names, key=Stage) == names
    assert sorted([Stage.SERIES_A, Stage.PRE_SEED, Stage.SEED]) == [
        Stage.PRE_SEED,
        Stage.SEED,
        Stage.SERIES_A,
    ]
    assert Stage.PRE_SEED < Stage.SEED <= Stage.SEED
    assert Stage.SERIES_C_PLUS > Stage.SERIES_C >= Stage.SERIES_C
    assert not Stage.SEED < Stage.PRE_SEED
    assert max(Stage) is Stage.SERIES_C_PLUS


@pytest.mark.parametrize("compare", [operator.lt, operator.le, operator.gt, operator.ge])
def test_a_stage_is_not_ordered_among_texts(compare: Callable[[Any, Any], bool]) -> None:
    with pytest.raises(TypeError, match="ordered only among stages"):
        compare(Stage.SEED, "series-a")


def test_stages_are_texts_in_every_other_respect() -> None:
    text: str = Stage.SEED
    assert text == "seed"
    assert {text: 1}["seed"] == 1
    assert f"{Stage.SERIES_C_PLUS}" == "series-c+"


@pytest.mark.parametrize(
    "value",
    [
        None,
        0,
        math.nan,
        True,
        b"seed",
        bytearray(b"seed"),
        ["seed"],
        {"seed": 1},
        {"seed"},
        ("seed",),
        object(),
        Stage,
    ],
)
def test_what_is_no_text_is_unknown(value: object) -> None:
    found = normalize(value)
    assert isinstance(found, Unknown)
    assert found.raw is value
    assert found.suggestions == ()


def test_what_says_that_it_is_a_text_but_is_none_is_unknown() -> None:
    # Made here: pytest itself asks the objects of a module for their class.
    class Pretender:
        __hash__ = None  # type: ignore[assignment]

        @property  # type: ignore[misc]
        def __class__(self) -> NoReturn:  # type: ignore[override]
            raise RuntimeError("ask type() instead")

    pretender = Pretender()
    found = normalize(pretender)
    assert type(found) is Unknown
    assert found.raw is pretender


@pytest.mark.parametrize("value", [Hostile("Seed"), Colour.SEED], ids=["hostile", "enum"])
def test_a_kind_of_text_is_read_as_its_plain_text(value: str) -> None:
    found = normalize(value)
    assert found == Known("Seed", Stage.SEED, canonical=False)
    assert type(found.raw) is str
    assert normalize_all([value, "seed"]) == [found, Known("seed", Stage.SEED, canonical=True)]


def test_an_over_long_text_is_unknown_without_being_read() -> None:
    assert isinstance(normalize("seed" + " " * (LONGEST - 4)), Known)
    for text in ("seed" + " " * (LONGEST - 3), "seed" * 2_500_000, Hostile("seed" * 2_500_000)):
        found = normalize(text)
        assert isinstance(found, Unknown)
        assert found.raw is text
        assert found.suggestions == ()


@pytest.mark.parametrize(
    "raw", ["", " ", "\n", "\u200b", "-", "\ud800", "\udfff seed", "\x00" * 50, "\ufdfa" * 100]
)
def test_odd_texts_are_unknown(raw: str) -> None:
    assert normalize(raw) == Unknown(raw, ())


@pytest.mark.parametrize(
    ("raw", "canonical"), [("seed", True), ("Seed", False), ("series_a", False), ("seed ", False)]
)
def test_only_the_name_to_the_letter_is_canonical(raw: str, canonical: bool) -> None:
    found = normalize(raw)
    assert isinstance(found, Known)
    assert found.canonical is canonical


anything = st.one_of(
    st.text(st.characters()),
    st.text(st.sampled_from("seriabcpd +-_\u0430\u200b\ud800")),
    st.none() | st.booleans() | st.integers() | st.floats() | st.binary(),
    st.recursive(
        st.none() | st.text(max_size=3),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ),
)


@given(anything)
def test_any_value_has_an_answer_and_the_same_one_again(value: object) -> None:
    first = normalize(value)
    assert first.raw == value if type(value) is str else first.raw is value
    assert normalize_all([value]) in ([first], [normalize(value)])
    if isinstance(first, Known):
        again = normalize(first.stage)
        assert again == Known(first.stage.value, first.stage, canonical=True)
        assert normalize(fold(first.raw)) == Known(
            fold(first.raw), first.stage, fold(first.raw) == first.stage
        )
    else:
        assert isinstance(first, Unknown)
        assert len(first.suggestions) <= 2
        assert all(isinstance(stage, Stage) for stage in first.suggestions)


def test_many_values_are_answered_in_order() -> None:
    raws: list[object] = ["seed", None, "Seires A", "seed", [], "Series B", "x" * 200]
    assert normalize_all(raws) == [normalize(raw) for raw in raws]
    assert normalize_all(["seed", "Seires A"]) == [normalize("seed"), normalize("Seires A")]
    assert normalize_all([]) == []


def test_results_cannot_be_changed() -> None:
    known = normalize("seed")
    with pytest.raises(AttributeError):
        known.stage = Stage.SERIES_A  # type: ignore[misc, union-attr]


# The table of spellings.


def test_extra_spellings_are_read_like_built_in_ones() -> None:
    table = BUILTIN.extended({"A\u8f6e": Stage.SERIES_A, "Early Stage VC": Stage.SEED}, version=7)
    assert table.version == 7
    assert normalize("early_stage  vc\n", table) == Known(
        "early_stage  vc\n", Stage.SEED, canonical=False
    )
    assert normalize("a\u8f6e", table) == Known("a\u8f6e", Stage.SERIES_A, canonical=False)
    assert normalize("Series B", table) == normalize("Series B")
    assert ("early stage vc", Stage.SEED) in table.spellings()
    assert set(BUILTIN.spellings()) < set(table.spellings())
    assert BUILTIN.version == 0
    assert isinstance(normalize("Early Stage VC"), Unknown)


@pytest.mark.parametrize(
    "raw", ["Series A", "SERIES-A", "seriesb", "pre_seed round", "x" * (LONGEST + 1)]
)
def test_an_extra_spelling_may_not_redefine_a_built_in_one_or_be_unreachable(raw: str) -> None:
    with pytest.raises(SpellingConflict) as conflict:
        BUILTIN.extended({raw: Stage.SERIES_A}, version=1)
    assert conflict.value.spelling == raw


def test_two_extra_spellings_of_one_key_must_agree() -> None:
    BUILTIN.extended({"Growth": Stage.SERIES_C, "GROWTH": Stage.SERIES_C}, version=1)
    with pytest.raises(SpellingConflict, match="already means series-c"):
        BUILTIN.extended({"Growth": Stage.SERIES_C, "GROWTH": Stage.SERIES_B}, version=1)


@pytest.mark.parametrize("raw", ["", " \n", "\u200b", "x" * LONGEST, "\ufdfa" * LONGEST])
def test_blank_text_and_the_longest_text_can_be_decided(raw: str) -> None:
    table = BUILTIN.extended({raw: OutsideEntry("missing", "no stage given")}, version=1)
    assert normalize(raw, table) == Outside(raw, "missing", "no stage given")
    assert normalize(raw.upper() + " ", table) == (
        Outside(raw.upper() + " ", "missing", "no stage given")
        if len(raw) < LONGEST
        else Unknown(raw.upper() + " ", ())
    )


def test_an_extra_spelling_may_be_outside_and_then_has_no_stage() -> None:
    table = BUILTIN.extended({"Grant": OutsideEntry("grant", "not equity")}, version=3)
    found = normalize("GRANT", table)
    assert found == Outside("GRANT", "grant", "not equity")
    assert not hasattr(found, "stage")
    assert list(table.outside()) == [("grant", OutsideEntry("grant", "not equity"))]
    assert "grant" not in dict(table.spellings())
    with pytest.raises(SpellingConflict, match="already means outside"):
        BUILTIN.extended({"Grant": OutsideEntry(), "GRANT": Stage.SEED}, version=3)


def test_stored_keys_join_the_table_and_built_in_meanings_win() -> None:
    table = BUILTIN.with_keys({"angel": Stage.SEED, "series a": Stage.SERIES_B}, version=4)
    assert normalize("Angel", table) == Known("Angel", Stage.SEED, canonical=False)
    assert normalize("Series A", table) == Known("Series A", Stage.SERIES_A, canonical=False)


def test_ten_thousand_decided_spellings_are_all_remembered() -> None:
    decided = {f"Fund Round {number}": OutsideEntry("numbered") for number in range(10_000)}
    table = BUILTIN.extended(decided, version=1)
    answers = [normalize(raw, table) for raw in decided]
    assert all(
        normalize(raw, table) is answer for raw, answer in zip(decided, answers, strict=True)
    )


def test_an_alias_of_a_mangled_spelling_does_not_reach_the_sound_one() -> None:
    table = BUILTIN.extended({"series-c-": Stage.SERIES_C_PLUS}, version=1)
    assert normalize("Series C -", table) == Known(
        "Series C -", Stage.SERIES_C_PLUS, canonical=False
    )
    assert normalize("Series C", table) == Known("Series C", Stage.SERIES_C, canonical=False)


def test_the_memo_is_bounded_and_nonsense_does_not_push_out_spellings_in_use() -> None:
    table = BUILTIN.extended({}, version=1)
    in_use = normalize("sEEd", table)
    for number in range(3 * MEMO_SIZE):
        normalize(f"nonsense {number}", table)
        assert len(table._seen) <= MEMO_SIZE + len(stages._COMMON)
    assert normalize("sEEd", table) is in_use


def test_the_memo_is_bounded_for_endless_ways_to_write_a_stage() -> None:
    table = BUILTIN.extended({}, version=1)
    for number in range(2 * MEMO_SIZE + 10):
        raw = "seed" + "".join(" \t"[int(bit)] for bit in f"{number:b}")
        assert normalize(raw, table) == Known(raw, Stage.SEED, canonical=False)
    assert len(table._seen) <= MEMO_SIZE + len(stages._COMMON)
    assert normalize("Seed Round", table) is normalize("Seed Round")


def test_threads_that_share_a_table_get_the_right_answers() -> None:
    table = BUILTIN.extended({}, version=1)
    spellings = [(key, stage) for key, stage in BUILTIN.spellings()]
    wrong: list[str] = []

    def read(offset: int) -> None:
        for number in range(6_000):
            key, stage = spellings[(number + offset) % len(spellings)]
            raw = f"{key}{' ' * (number % 60)}{chr(9) * (offset + number % 7)}"
            found = normalize(raw, table)
            if found != (
                Known(raw, stage, raw == stage) if len(raw) <= LONGEST else Unknown(raw, ())
            ):
                wrong.append(raw)
            normalize(f"nonsense {number} {offset}", table)

    threads = [threading.Thread(target=read, args=(offset,)) for offset in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(table._seen) <= len(stages._COMMON) + MEMO_SIZE + len(threads)
