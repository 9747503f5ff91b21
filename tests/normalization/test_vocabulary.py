"""Which spellings the table maps, and that none maps which means something else."""

import csv
import re
from itertools import permutations, product
from pathlib import Path

import pytest

from normalization import vocabulary
from normalization.stages import BUILTIN, Known, Stage, Unknown, fold, normalize
from normalization.wording import LATER_LETTERS, STAGE_LETTERS
from tests.data.write_mapped_spellings import MAPPED, mapped_spellings
from tests.data.write_mapped_spellings import vocabulary as public_spellings

LABELLED = Path(__file__).parent.parent / "data" / "labelled_stages.csv"

with LABELLED.open(newline="", encoding="utf-8") as file:
    LABELS = [(row["raw"], row["expected"]) for row in csv.DictReader(file)]

SPELLINGS = [spelling for spelling, _ in BUILTIN.spellings()]
SERIES = [
    name for names in vocabulary.NAMES.values() for name in names if name.startswith("series")
]
NAMES = [names[0] for names in vocabulary.NAMES.values()]


def unknown(texts: list[str]) -> list[str]:
    """The texts that are known though they should not be."""
    assert texts
    return [text for text in texts if isinstance(normalize(text), Known)]


@pytest.mark.parametrize(("raw", "expected"), LABELS)
def test_every_labelled_spelling_is_read_as_labelled(raw: str, expected: str) -> None:
    found = normalize(raw)
    assert (found.stage.value if isinstance(found, Known) else "UNKNOWN") == expected


def test_the_mapped_spellings_are_the_reviewed_ones() -> None:
    assert MAPPED.read_bytes().decode() == mapped_spellings(), (
        "regenerate: see tests/data/write_mapped_spellings.py"
    )


def test_mapped_spellings_consist_of_one_stage_and_words_for_a_round() -> None:
    # Written apart from the table, so that a wrong entry there is noticed even if it comes with a
    # new reviewed file.
    allowed = re.compile(
        r"(pre.?seed|seed|series.?[ab]|series.c|series.?c\+)"
        r"(.(round|funding|financing|stage|funding.round|financing.round))?"
    )
    with MAPPED.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 51
    for row in rows:
        assert allowed.fullmatch(row["raw"].strip().lower()), row
        letter = row["stage"].removeprefix("series-") if "series" in row["stage"] else ""
        assert re.sub(
            r"\W?(round|funding|financing|stage)", "", row["raw"].strip().lower()
        ).endswith(letter), row


def test_table_and_hints_are_written_in_folded_form() -> None:
    for key in [*SPELLINGS, *vocabulary.PROBABLE]:
        assert fold(key) == key


def test_every_stage_can_be_said_by_its_own_name() -> None:
    assert set(vocabulary.NAMES) == {stage.value for stage in Stage}
    for stage in Stage:
        assert normalize(stage.value) == Known(stage.value, stage, canonical=True)


def test_hints_are_never_part_of_the_table() -> None:
    assert not set(vocabulary.PROBABLE) & set(SPELLINGS)


def test_usual_ways_of_typing_add_nothing_to_the_folded_table() -> None:
    table = dict(BUILTIN.spellings())
    for raw, stage in vocabulary.common_spellings().items():
        assert table[fold(raw)] == stage


def test_no_pre_series_maps() -> None:
    befores = ("pre ", "pre-", "Pre-", "PRE_", "pre", "pré-", "Pre- ")
    assert (
        unknown(
            [
                before + text
                for before in befores
                for text in SPELLINGS
                if text.startswith("series")
            ]
        )
        == []
    )
    assert unknown(["pre a", "pre-A", "Pre-B round", "pre series", "pre-pre-seed"]) == []


def test_no_compound_maps() -> None:
    between = (
        "/",
        " / ",
        ", ",
        " & ",
        " and ",
        " + ",
        "+",
        " - ",
        "-",
        " to ",
        "\n",
        " – ",
        ";",
        " or ",
        " ",
    )
    pairs = [first + glue + other for first, other in permutations(NAMES, 2) for glue in between]
    # "pre seed" is also what stands before a seed, so `pre` alone is no stage to combine with.
    assert unknown(pairs) == []
    assert unknown([f"{name} {letter}" for name, letter in product(NAMES, "abcd")]) == []
    assert (
        unknown(["Seed A", "Series AB", "Series A/B", "Series A B", "Series A&B", "seed seed"])
        == []
    )


def test_no_sub_round_extension_or_remark_maps() -> None:
    afters = (
        "1", "2", " 1", "-1", "_2", " II", " extension", " ext", "-ext", " (extension)",
        " follow-on", " tranche 2", " bridge", " prime", "'", "*", "?", "!", ".",
        " (first close)", " $5M", " or later", " plus", "++", " +", "%",
    )  # fmt: skip
    assert unknown([text + after for text in SPELLINGS for after in afters]) == []
    befores = (
        "bridge ",
        "extended ",
        "late ",
        "early ",
        "post-",
        "mini-",
        "$5M ",
        "(",
        "2. ",
        "=",
        "~",
        "non-",
        "a ",
    )
    assert unknown([before + text for text in SPELLINGS for before in befores]) == []


def test_plus_makes_a_stage_of_series_c_alone() -> None:
    with_plus = {text for text in [*NAMES, *SERIES] if isinstance(normalize(f"{text}+"), Known)}
    assert with_plus == {"series c"} | ({"seriesc"} & with_plus)
    assert normalize("seriesc+") == Known("seriesc+", Stage.SERIES_C_PLUS, canonical=False)


def test_no_later_round_maps() -> None:
    forms = (
        "series {}",
        "Series-{}",
        "SERIES_{}",
        "series{}",
        "series {} round",
        "series {}+",
        "{}",
        "{} round",
        "round {}",
    )
    letters = [*STAGE_LETTERS, *map(str.upper, STAGE_LETTERS)]
    assert unknown([form.format(letter) for form, letter in product(forms, LATER_LETTERS)]) == []
    assert (
        unknown(
            [
                form.format(letter)
                for form, letter in product(("{}", "{} round", "round_{}", "{}-series"), letters)
            ]
        )
        == []
    )


@pytest.mark.parametrize(
    "raw",
    [
        "seriesc",
        "SeriesC",
        "SERIESC",
        "seriesc round",
        "series-c-",
        "Series C-",
        "series c\u2212",
        "series-c_",
    ],
)
def test_what_may_be_a_mangled_series_c_plus_is_unknown(raw: str) -> None:
    assert isinstance(normalize(raw), Unknown)


LOOK_ALIKES = {
    "a": "\u0430\u03b1\u0251\u1d00\u00e0\u00e5\u0101\u00aa\u1d43",
    "b": "\u0432\u044c\u03b2\u0299\u1e07\u1d47",
    "c": "\u0441\u03f2\u1d04\u00e7\u0107\u1d9c\u216d\u217d",
    "d": "\u0501\u1d05\u0111\u010f\u1d48\u216e\u217e",
    "e": "\u0435\u03b5\u1d07\u00e9\u0119\u1d49\u2091",
    "i": "\u0456\u03b9\u0131\u00ed\u2071\u2170\u2160",
    "n": "\u043f\u03b7\u0274\u00f1\u207f",
    "o": "\u043e\u03bf\u1d0f\u00f6\u00ba\u00f8\u2092",
    "p": "\u0440\u03c1\u1d18\u1d56",
    "r": "\u0433\u0280\u0155\u02b3",
    "s": "\u0455\ua731\u0161\u02e2\u1e9b",
    "u": "\u03c5\u1d1c\u00fc\u1d58",
    "+": "\u2795\u253c\u2020\u0661\u02d6",
}


def test_no_look_alike_maps() -> None:
    disguised = [
        text[:place] + other + text[place + 1 :]
        for text in [*NAMES, *SERIES, "seed round", "series a funding"]
        for place, char in enumerate(text)
        for other in LOOK_ALIKES.get(char, "")
    ]
    assert len(disguised) > 300
    assert unknown(disguised) == []


def test_no_letter_with_a_mark_on_it_maps() -> None:
    marks = "\u0300\u0301\u0323\u0327\u0335\u0338\u20dd\u20e3\u034f\ufe0f\u3099"
    texts = [
        text[:place] + mark + text[place:]
        for text in NAMES
        for place in range(1, len(text) + 1)
        for mark in marks
    ]
    assert unknown(texts) == []


def test_containing_a_stage_is_not_being_one() -> None:
    # A rule that looks for a stage anywhere in the text would map all of these: what the closed
    # table is there against.
    contains = re.compile(r"seed|series.?[abc]\b", re.IGNORECASE)
    hazards = [raw for raw in public_spellings() if contains.search(raw)]
    mapped = [raw for raw in hazards if isinstance(normalize(raw), Known)]
    assert len(hazards) > 400
    assert len(mapped) == 51
