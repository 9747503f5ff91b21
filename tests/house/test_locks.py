"""Advisory locks: no two share a number, and all numbers are in `stagenorm.locks`."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

from stagenorm import locks

ROOT = Path(__file__).resolve().parents[2]
CALL = re.compile(r"pg_(?:try_)?advisory_(?:xact_)?(?:un)?lock(?:_shared)?\s*\(\s*([^)]*)", re.I)
NUMBER = re.compile(r"(?<![\w%$.])(?:0x[0-9a-f_]+|\d[\d_]*)\b", re.I)

keys = {name: number for name, number in vars(locks).items() if isinstance(number, int)}


def literals(source: str) -> Iterator[str]:
    """Yield each number that a call of an advisory-lock function contains in its SQL."""
    for call in CALL.findall(source):
        yield from NUMBER.findall(call)


def test_all_numbers_differ() -> None:
    assert len(set(keys.values())) == len(keys) >= 5


def test_a_class_is_a_signed_32_bit_number_and_a_key_a_signed_64_bit_one_beyond_it() -> None:
    for name, number in keys.items():
        bits = 31 if name.endswith("_CLASS") else 63
        assert 0 < number < 2**bits, name
        # One 64-bit key is the same lock as the pair of its halves in PostgreSQL's view pg_locks.
        assert name.endswith("_CLASS") or number >= 2**32, name


def test_no_key_s_upper_half_is_a_class() -> None:
    classes = {name: number for name, number in keys.items() if name.endswith("_CLASS")}
    others = {name: number for name, number in keys.items() if name not in classes}
    for (name, number), (other, of_class) in product(others.items(), classes.items()):
        assert number >> 32 != of_class, (name, other)


@pytest.mark.parametrize("package", ["stagenorm", "normalization", "ops"])
def test_no_code_takes_a_lock_by_a_literal_number(package: str) -> None:
    for path in sorted((ROOT / package).rglob("*.py")):
        strings = (
            node.value
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        )
        found = [number for text in strings for number in literals(text)]
        assert found == [], path


@pytest.mark.parametrize("package", ["stagenorm", "normalization", "ops"])
def test_no_other_module_defines_a_number_of_a_lock(package: str) -> None:
    known = set(keys.values())
    for path in sorted((ROOT / package).rglob("*.py")):
        if path == Path(locks.__file__):
            continue
        numbers = {
            node.value
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Constant) and isinstance(node.value, int)
        }
        assert not numbers & known, path


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("SELECT pg_advisory_lock(7)", ["7"]),
        ("SELECT pg_try_advisory_xact_lock(0x57A6, %s)", ["0x57A6"]),
        ("SELECT pg_advisory_unlock(%s, %s)", []),
        ("SELECT pg_advisory_xact_lock(%(key)s)", []),
    ],
)
def test_a_literal_number_is_found(source: str, found: list[str]) -> None:
    assert list(literals(source)) == found
