"""What a text may have around and between its letters and still be read, for every character of
Unicode.
"""

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from normalization.stages import BUILTIN, Known, Stage, Unknown, fold, normalize
from normalization.wording import STAGE_LETTERS

EVERYTHING = [chr(code) for code in range(sys.maxunicode + 1)]
ASSIGNED = [char for char in EVERYTHING if unicodedata.category(char) not in ("Cn", "Co", "Cs")]
INVISIBLE = set("\u200b\u200c\u200d\u2060\ufeff\u00ad\u200e\u200f")
WHITE_SPACE = {char for char in EVERYTHING if char.isspace()}

any_text = st.text(st.characters(), max_size=40)


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        ("Series A", "series a"),
        ("  SERIES__A \n", "series a"),
        ("Series\u00a0A", "series a"),
        ("Series\r\nA", "series a"),
        ("pre\u2013seed", "pre seed"),
        ("Pre - Seed", "pre seed"),
        ("\ufeffSeed\u200b", "seed"),
        ("S\u200ee\u2060ed", "seed"),
        ("\uff33\uff45\uff45\uff44", "seed"),
        ("series c\uff0b", "series c+"),
        ("\u017feed", "seed"),
        ("Series C+", "series c+"),
        ("Series C +", "series c +"),
        ("series-c-", "series c-"),
        ("series-c \u2212 ", "series c-"),
        ("_seed", "-seed"),
        ("--", "-"),
        ("se\u0301ed", "s\u00e9ed"),
        ("series \u216d", "series \u217d"),
        ("series\u1d43", "series\u1d43"),
        ("", ""),
        (" \u200b\n", ""),
    ],
)
def test_folding(raw: str, key: str) -> None:
    assert fold(raw) == key


def test_only_the_invisible_is_left_out_and_only_white_space_and_dashes_part_words() -> None:
    left_out, stripped, dashes = set(), set(), set()
    for char in EVERYTHING:
        key = fold(f"se{char}ed{char}")
        if key == "seed":
            left_out.add(char)
        elif key == "se ed":
            stripped.add(char)
        elif key == "se ed-":
            dashes.add(char)
    assert left_out == INVISIBLE
    assert stripped == WHITE_SPACE
    assert {char for char in EVERYTHING if unicodedata.category(char) == "Pd"} <= dashes
    # The rest are minus signs and the compatibility forms of dashes and underscores.
    others = {char for char in dashes if unicodedata.category(char) != "Pd"}
    assert others <= set("_\u2212\u207b\u208b\ufe33\ufe34\ufe4d\ufe4e\ufe4f\uff3f\U00010d6e")


def test_what_stands_for_a_series_letter_is_that_letter_by_unicode() -> None:
    accepted: dict[Stage, dict[str, str]] = {}
    for char in ASSIGNED:
        found = BUILTIN._entry_of(f"series {char}")
        if isinstance(found, Stage):
            kind = unicodedata.decomposition(char).split(">")[0].lstrip("<")
            accepted.setdefault(found, {})[char] = kind
    assert set(accepted) == set(STAGE_LETTERS.values())
    for stage, kinds in accepted.items():
        letter = stage.value[-1]
        assert {char for char, kind in kinds.items() if kind == ""} == {letter, letter.upper()}
        assert set(kinds.values()) == {"", "wide", "font", "circle", "square"}
        assert {unicodedata.normalize("NFKC", char).lower() for char in kinds} == {letter}


@pytest.mark.parametrize("kind", ["super", "sub"])
def test_raised_letters_and_roman_numerals_stay_what_they_are(kind: str) -> None:
    raised = [
        char for char in EVERYTHING if unicodedata.decomposition(char).startswith(f"<{kind}>")
    ]
    roman = [chr(code) for code in range(0x2160, 0x2180)]
    for char in raised + roman:
        for text in (f"series{char}", f"series {char}", f"{char}eed", f"s{char}ed", f"see{char}"):
            assert isinstance(normalize(text), Unknown), ascii(text)


@pytest.mark.parametrize(
    "raw",
    [
        "\u202eA seireS",  # overridden direction: shown as "Series A"
        "Series\u2066 A",
        "Seed\x00",
        "Seed\x1b[0m",
        "Seed\u0301",
        "se\u0301ed",
        "Seed\ufe0f",
        "Seed\u180e",
        "S\ud800eed",
        "Series A\\n",
        "series a \u00aa",
        "series \u2103",
        "\u24ae\u24a0\u24a0\u249f",
        "seed-",
        "-seed",
        "series a-",
        "se ed",
        "se-ed",
    ],
)
def test_what_looks_nearly_right_is_unknown(raw: str) -> None:
    assert isinstance(normalize(raw), Unknown)


@given(any_text)
def test_folding_twice_is_folding_once(text: str) -> None:
    assert fold(fold(text)) == fold(text)


def test_folding_any_one_character_twice_is_folding_it_once() -> None:
    assert [char for char in ASSIGNED if fold(fold(char)) != fold(char)] == []


@st.composite
def disguised(draw: st.DrawFn) -> tuple[str, Stage]:
    """A spelling of the table with the folding undone at random."""
    key, stage = draw(st.sampled_from(list(BUILTIN.spellings())))
    invisible = st.text(st.sampled_from(sorted(INVISIBLE)), max_size=1)
    parting = st.text(
        st.sampled_from(" \t\n\u00a0\u3000-_\u2010\u2013\u2014\u2212\ufe63"),
        min_size=1,
        max_size=3,
    )
    around = st.text(st.sampled_from(sorted(WHITE_SPACE | INVISIBLE)), max_size=3)
    text = "".join(
        draw(parting) if char == " " else draw(st.sampled_from(forms_of(char))) + draw(invisible)
        for char in key
    )
    return draw(around) + text + draw(around), stage


def forms_of(char: str) -> list[str]:
    """A character's lower, upper, full-width and circled forms."""
    full = [chr(ord(form) + 0xFEE0) for form in (char, char.upper())]
    return [
        char,
        char.upper(),
        *full,
        *([chr(ord("\u24d0") + ord(char) - ord("a"))] if char.isalpha() else []),
    ]


@given(disguised())
def test_variants_of_a_spelling_mean_the_same_stage(variant: tuple[str, Stage]) -> None:
    raw, stage = variant
    if len(raw) <= 100:
        assert normalize(raw) == Known(raw, stage, raw == stage)
