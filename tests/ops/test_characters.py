"""Client text on the operator's pages: invisible characters are named, long text is cut."""

import pytest

from ops.admin_ui.characters import visible


def shown(raw: str) -> str:
    found = visible(raw)
    text = "".join(f"[{piece.text}]" if piece.hidden else piece.text for piece in found.pieces)
    return f"{text} and {found.cut} more" if found.cut else text


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("Series A", "Series A"),
        ("", ""),
        (" ", "[space]"),
        (" Series  A ", "[space]Series[space][space]A[space]"),
        ("Series\u00a0A", "Series[U+00A0]A"),
        ("Ser\u200bies\tA\n", "Ser[U+200B]ies[tab]A[new line]"),
        ("Series\ufe0fA\u3164", "Series[U+FE0F]A[U+3164]"),
        ("\u202eA seires", "[U+202E]A seires"),
        ("<b>x</b>", "<b>x</b>"),
        ("x" * 81, "x" * 80 + " and 1 more"),
        ("\ud800", "[U+D800]"),
    ],
)
def test_invisible_characters_are_named_and_long_text_is_cut(raw: str, expected: str) -> None:
    assert shown(raw) == expected


def test_a_look_alike_letter_is_named_beside_the_text() -> None:
    assert visible("Series \u0410").letters == ["U+0410"]
    assert visible("Series A").letters == []
