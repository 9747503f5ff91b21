"""Client text on the operator's pages: what cannot be seen is named, and long text is cut."""

import pytest

from ops.visible_text import visible


def shown(raw: str) -> str:
    return "".join(f"[{part.text}]" if part.named else part.text for part in visible(raw))


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("Series A", "Series A"),
        ("", ""),
        (" ", "[␣]"),
        (" Series  A ", "[␣]Series[␣␣]A[␣]"),
        ("Series\u00a0A", "Series[U+00A0]A"),
        ("Ser\u200bies\tA\n", "Ser[U+200B]ies[U+0009]A[U+000A]"),
        ("\u202eA seires", "[U+202E]A seires"),
        ("Sèries Ａ", "Sèries Ａ"),
        ("<b>x</b>", "<b>x</b>"),
        ("x" * 61, "x" * 60 + "[…]"),
        ("\ud800", "[U+D800]"),
    ],
)
def test_invisible_characters_are_named_and_long_text_is_cut(raw: str, expected: str) -> None:
    assert shown(raw) == expected
