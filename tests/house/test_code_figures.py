"""Limits on the product code. `python -m tests.house.code_figures` prints the same figures."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.house.code_figures import (
    ROOT,
    CodeFigures,
    cycles,
    import_graph,
    measure,
    product_modules,
    rooms,
)

MOST_PER_1000_LINES = 0.6
PER_PACKAGE_NAMES = {"Command"}  # Django finds management commands by this name


@pytest.fixture(scope="module")
def figures() -> CodeFigures:
    return measure()


def test_modules_of_ops_are_topics_and_none_is_long(figures: CodeFigures) -> None:
    assert figures.ops_module_median >= 110
    name, length = figures.ops_module_longest
    assert length <= 400, name


def test_functions_are_short(figures: CodeFigures) -> None:
    assert figures.function_median <= 9
    assert figures.function_p90 <= 25
    name, length = figures.function_longest
    assert length <= 50, name


def test_every_line_ends_before_100_characters(figures: CodeFigures) -> None:
    assert figures.long_lines == []


def test_words_that_native_readers_stumble_over_are_rare(figures: CodeFigures) -> None:
    frequent = {
        word: share for word, share in figures.words.items() if share > MOST_PER_1000_LINES
    }
    assert frequent == {}


def test_modules_import_each_other_in_one_direction(figures: CodeFigures) -> None:
    assert figures.module_cycles == []


def test_rooms_import_each_other_in_one_direction(figures: CodeFigures) -> None:
    assert figures.room_cycles == []


def test_type_names_are_unique_in_the_project(figures: CodeFigures) -> None:
    shared = {name: places for name, places in figures.types.items() if len(places) > 1}
    assert {name: shared[name] for name in shared if name not in PER_PACKAGE_NAMES} == {}


def test_modules_are_named_after_topics() -> None:
    vague = {"answers", "findings", "judged", "standing", "sweep", "visible"}
    vague |= {"helpers", "manager", "services", "utils"}
    assert [str(path) for path in product_modules(ROOT) if path.stem in vague] == []


def test_every_system_check_has_an_id_of_its_own() -> None:
    found = [
        check
        for path in product_modules(ROOT)
        for check in re.findall(r'"(\w+\.[EW]\d{3})"', path.read_text())
    ]
    assert len(found) >= 10
    assert sorted(found) == sorted(set(found))


@pytest.mark.parametrize(
    "statement",
    [
        "import ops.b.two",
        "from ops.b import two",
        "from ops.b.two import name",
        "from ..b import two",
        "from ..b.two import name",
        "def late():\n    from ops.b import two",
        "if TYPE_CHECKING:\n    from ops.b.two import Name",
    ],
)
def test_a_cycle_is_found_however_it_is_imported(statement: str) -> None:
    sources = {
        "ops/__init__.py": "",
        "ops/a/__init__.py": "",
        "ops/a/one.py": statement,
        "ops/b/__init__.py": "",
        "ops/b/two.py": "from ops.a.one import late",
    }
    graph = import_graph({Path(path): ast.parse(text) for path, text in sources.items()})
    assert cycles(graph) == [["ops.a.one", "ops.b.two"]]
    assert cycles(rooms(graph)) == [["ops.a", "ops.b"]]


def test_lines_of_templates_are_short() -> None:
    # White space in the text that raw.html shows is significant, so it has one long line.
    assert [
        f"{path.relative_to(ROOT)}:{number}"
        for path in sorted((ROOT / "templates").rglob("*.html"))
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if len(line) > 110 and path.name != "raw.html"
    ] == []
