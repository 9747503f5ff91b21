"""Rules for the test files themselves."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.house.code_figures import LONGEST_LINE

TESTS = Path(__file__).resolve().parents[1]
STARTS_A_PROCESS = {"run", "Popen", "call", "check_call", "check_output", "getoutput"}


def test_every_process_comes_from_children() -> None:
    assert list(_calls_of_subprocess()) == []


def test_no_test_file_imports_another() -> None:
    assert list(_imports_of_test_files()) == []


def test_every_line_ends_before_100_characters() -> None:
    assert [
        f"{path.relative_to(TESTS)}:{number}"
        for path in sorted(TESTS.rglob("*.py"))
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if len(line) > LONGEST_LINE
    ] == []


def _calls_of_subprocess() -> Iterator[str]:
    for path, node in _nodes():
        if path.name == "children.py" or not isinstance(node, ast.Call):
            continue
        module, _, function = ast.unparse(node.func).rpartition(".")
        if module == "subprocess" and function in STARTS_A_PROCESS:
            yield f"{path.relative_to(TESTS)}:{node.lineno}"


def _imports_of_test_files() -> Iterator[str]:
    for path, node in _nodes():
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            place = TESTS.parent / Path(*name.split(".")).with_suffix(".py")
            if place.name.startswith("test_") and place.is_file():
                yield f"{path.relative_to(TESTS)}:{node.lineno} imports {name}"


def _nodes() -> Iterator[tuple[Path, ast.AST]]:
    for path in sorted(TESTS.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            yield path, node
