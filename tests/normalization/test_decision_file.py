"""A file of decisions gives back what was written, and is refused as a whole with every reason."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from normalization.decision_file import (
    COLUMNS,
    DecisionFileRefused,
    DecisionRow,
    escape,
    read,
    unescape,
    write,
)
from normalization.decision_warnings import DecisionVerdict
from normalization.stages import LONGEST, Known, Stage, fold, normalize
from tests.data.write_mapped_spellings import vocabulary

HEADER = ",".join(COLUMNS)
STORABLE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


def refusals(data: bytes | str) -> list[str]:
    with pytest.raises(DecisionFileRefused) as refused:
        read(data)
    return [str(fault) for fault in refused.value.faults]


def file_of(*lines: str) -> str:
    return "\n".join((HEADER, *lines, ""))


def outside(spelling: str) -> DecisionRow:
    return DecisionRow(spelling, DecisionVerdict.OUTSIDE, note=spelling, source="confirmed")


def undecided(spellings: list[str]) -> list[str]:
    """The spellings that can be decided, one of each folded key."""
    keys = {fold(each): each for each in spellings if not isinstance(normalize(each), Known)}
    return list(keys.values())


@given(STORABLE)
def test_an_escaped_text_is_visible_on_one_line_and_comes_back(text: str) -> None:
    shown = escape(text)
    assert unescape(shown) == text
    assert all(char.isprintable() for char in shown if char.isascii())
    assert not shown.startswith(("=", "+", "-", "@"))


@given(st.lists(STORABLE.filter(lambda text: len(text) <= LONGEST), max_size=20))
def test_what_was_written_is_read_back_to_the_letter(texts: list[str]) -> None:
    rows = sorted(map(_confirmed, undecided(texts)), key=lambda row: (row.key, row.spelling))
    assert read(write(rows).encode()) == tuple(rows)


def _confirmed(spelling: str) -> DecisionRow:
    return DecisionRow(spelling, DecisionVerdict.OUTSIDE, None, spelling, f"confirmed {spelling}")


def test_every_public_spelling_comes_back_to_the_letter() -> None:
    spellings = vocabulary()
    assert [unescape(escape(each)) for each in spellings] == spellings
    rows = [_confirmed(each) for each in undecided(spellings)]
    assert set(read(write(rows))) == set(rows)
    assert len(spellings) == 1_155


def test_the_same_decisions_are_the_same_file_in_whatever_order_they_come() -> None:
    rows = [outside("Grant"), outside("angel"), outside("-"), outside("")]
    assert write(rows) == write(rows[::-1])
    assert write(rows).splitlines() == [
        HEADER,
        ",outside,,,,confirmed",
        "\\u002d,outside,,,\\u002d,confirmed",
        "angel,outside,,,angel,confirmed",
        "Grant,outside,,,Grant,confirmed",
    ]


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("a\nb\r\tc\\", "a\\nb\\r\\tc\\\\"),
        ("=1+1", "\\u003d1+1"),
        ("+1", "\\u002b1"),
        ("@x", "\\u0040x"),
        ("Series\u200b A", "Series\\u200b A"),
        ("\xa0", "\\u00a0"),
        ("\u3164", "\\u3164"),
        ("\U000e0041", "\\U000e0041"),
        ("Série A轮", "Série A轮"),
    ],
)
def test_what_cannot_be_seen_or_would_run_is_escaped(text: str, cell: str) -> None:
    assert escape(text) == cell
    assert unescape(cell) == text


@pytest.mark.parametrize(
    ("lines", "reasons"),
    [
        (
            ["Grant,outside,,,,", "GRANT ,outside,,,,"],
            ["line 3: “GRANT ” is the same spelling as line 2"],
        ),
        (["Seed Round,outside,,,,"], ["line 2: “Seed Round” is built in as seed"]),
        (
            ["Grant,maybe,,,,"],
            ["line 2: unknown verdict “maybe”; the verdicts are stage, outside, open"],
        ),
        (
            ["Grant,choose,,,,"],
            ["line 2: unknown verdict “choose”; the verdicts are stage, outside, open"],
        ),
        (
            ["X轮,stage,series-z,,,"],
            [f"line 2: unknown stage “series-z”; the stages are {', '.join(Stage)}"],
        ),
        (["Grant,outside,seed,,,"], ["line 2: the verdict outside has no stage"]),
        (
            ["Gr\\xant,outside,,,,"],
            ["line 2: “\\x” is not an escape; write a backslash itself twice"],
        ),
        (
            ["Grant\\,outside,,,,"],
            ["line 2: “\\” is not an escape; write a backslash itself twice"],
        ),
        (
            ["Gr\\u0000ant,outside,,,,"],
            ["line 2: the spelling holds NUL or half a surrogate pair"],
        ),
        (
            ["Gr\\ud800ant,outside,,,,"],
            ["line 2: the spelling holds NUL or half a surrogate pair"],
        ),
        (
            ["x" * (LONGEST + 1) + ",outside,,,,"],
            [f"line 2: the spelling is longer than {LONGEST} characters"],
        ),
        (["Grant,outside"], ["line 2: 2 cells, where the header has 6"]),
        (
            ["Grant,maybe,,,,", "Seed,outside,,,,", "Angel,outside,seed,,,"],
            [
                "line 2: unknown verdict “maybe”; the verdicts are stage, outside, open",
                "line 3: “Seed” is built in as seed",
                "line 4: the verdict outside has no stage",
            ],
        ),
    ],
)
def test_a_file_is_refused_with_every_reason(lines: list[str], reasons: list[str]) -> None:
    assert refusals(file_of(*lines)) == reasons


def test_a_fault_names_the_line_on_which_its_record_begins() -> None:
    data = file_of('Grant,outside,,,"two\nlines",', "Angel,maybe,,,,")
    assert refusals(data)[0].startswith("line 4: unknown verdict")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "line 1: the column spelling is missing"),
        (b"spelling,verdict,stagee\n", "line 1: unknown column “stagee”; the columns are"),
        (b"spelling;verdict\n", "line 1: unknown column “spelling;verdict”"),
        (b"verdict\n", "line 1: the column spelling is missing"),
        (b"spelling,verdict,verdict\n", "line 1: a column stands twice in the header"),
        (b"spelling,verdict\nGr\xffant,outside\n", "line 2: the file is not UTF-8"),
        (b'spelling,verdict\n"Grant"x,outside\n', "line 2: the line is not CSV"),
        (b'spelling,verdict\n"Grant,outside\n', "line 2: the line is not CSV"),
        (b"spelling,verdict\nGr\0ant,outside\n", "line 2: "),
    ],
)
def test_a_file_that_is_no_table_is_refused(data: bytes, reason: str) -> None:
    found = refusals(data)
    assert len(found) == 1
    assert found[0].startswith(reason)


def test_a_spreadsheet_may_reorder_columns_leave_some_out_and_add_a_byte_order_mark() -> None:
    data = "\ufeffverdict,spelling\r\noutside,Grant\r\n\r\n".encode()
    assert read(data) == (DecisionRow("Grant", DecisionVerdict.OUTSIDE),)


@pytest.mark.parametrize(
    ("line", "confirmed"),
    [
        ("A1 round,stage,series-a,,Confirmed: our fund counts it,", True),
        ("A1 round,stage,series-a,,,confirmed: our feed", True),
        ("A1 round,stage,series-a,,unconfirmed,", False),
        ("A1 round,stage,series-a,,,", False),
    ],
)
def test_a_row_is_confirmed_by_that_word_in_its_note_or_source(line: str, confirmed: bool) -> None:
    assert read(file_of(line))[0].is_confirmed == confirmed


def test_only_a_pack_may_leave_the_choice() -> None:
    data = file_of("Later Stage VC,choose,,,,")
    assert read(data, pack=True)[0].verdict is DecisionVerdict.CHOOSE
    assert refusals(data)
