"""Figures of the product code: lengths of modules, functions and lines, words, import cycles.

`python -m tests.house.code_figures [ROOT]` prints them; `test_code_figures.py` has the limits.
Migrations are excluded, because they never change.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("stagenorm", "normalization", "ops")
LONGEST_LINE = 99

WORDS = {
    "whoever": r"\bwhoever\b",
    "whatever": r"\bwhatever\b",
    "whichever": r"\bwhichever\b",
    "nobody": r"\bnobody\b",
    "somebody": r"\bsomebody\b",
    "mend": r"\bmend(s|ed|ing)?\b",
    "is no X": r"(?<!there )\b(is|are|was|were) no (?!longer\b|more than\b)\w",
    "says": r"\bsays\b",
    "tells": r"\btells\b",
    "knows": r"\bknows\b",
}


@dataclass(frozen=True, slots=True)
class CodeFigures:
    """Lengths are in lines. A function begins at `def` and includes its docstring."""

    ops_module_median: float
    ops_module_longest: tuple[str, int]
    function_median: float
    function_p90: int
    function_longest: tuple[str, int]
    long_lines: list[str]
    words: dict[str, float]
    module_cycles: list[list[str]]
    room_cycles: list[list[str]]
    types: dict[str, list[str]]

    def report(self) -> str:
        """Return the figures as text, one a line."""
        words = "  ".join(f"{word} {share:.2f}" for word, share in self.words.items())
        return "\n".join(
            [
                f"ops module: median {self.ops_module_median:g}, "
                f"longest {self.ops_module_longest}",
                f"function: median {self.function_median:g}, p90 {self.function_p90}, "
                f"longest {self.function_longest}",
                f"lines over {LONGEST_LINE} characters: {len(self.long_lines)}",
                f"words per 1,000 lines: {words}",
                f"type names used twice: {', '.join(self._shared_types()) or 'none'}",
                f"import cycles of modules: {self.module_cycles or 'none'}",
                f"import cycles of rooms: {self.room_cycles or 'none'}",
            ]
        )

    def _shared_types(self) -> list[str]:
        return [name for name, places in self.types.items() if len(places) > 1]


def measure(root: Path = ROOT) -> CodeFigures:
    """Read the product code below `root` and return its figures."""
    sources = {path.relative_to(root): path.read_text() for path in product_modules(root)}
    functions = sorted(
        (length, f"{path}:{name}")
        for path, text in sources.items()
        for name, length in _functions(ast.parse(text))
    )
    lengths = [length for length, _ in functions]
    modules = [
        (len(text.splitlines()), str(path))
        for path, text in sources.items()
        if path.parts[0] == "ops" and text.strip()
    ]
    lines = sum(len(text.splitlines()) for text in sources.values())
    whole = "\n".join(sources.values())
    graph = import_graph({path: ast.parse(text) for path, text in sources.items()})
    return CodeFigures(
        ops_module_median=median(length for length, _ in modules),
        ops_module_longest=_largest(modules),
        function_median=median(lengths),
        function_p90=lengths[int(0.9 * (len(lengths) - 1))],
        function_longest=_largest(functions),
        long_lines=[
            f"{path}:{number}"
            for path, text in sources.items()
            for number, line in enumerate(text.splitlines(), 1)
            if len(line) > LONGEST_LINE
        ],
        words={
            word: 1000 * len(re.findall(pattern, whole, re.IGNORECASE)) / lines
            for word, pattern in WORDS.items()
        },
        module_cycles=cycles(graph),
        room_cycles=cycles(rooms(graph)),
        types=_types(sources),
    )


def import_graph(trees: dict[Path, ast.Module]) -> dict[str, set[str]]:
    """Return the product's modules and what each imports of them.

    Imports inside functions and under `TYPE_CHECKING` count.
    """
    names = {_dotted(path): (path, tree) for path, tree in trees.items()}
    graph: dict[str, set[str]] = {}
    for name, (path, tree) in names.items():
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        graph[name] = {
            target
            for imported in _imports(tree, package)
            if (target := _module_of(imported, names)) and target != name
        }
    return graph


def rooms(graph: dict[str, set[str]]) -> dict[str, set[str]]:
    """Return the same imports between rooms: a package inside a product package is one room.

    The modules of `ops.gates` are rooms of their own, since other rooms lie between them.
    """
    found: dict[str, set[str]] = {}
    for module, imported in graph.items():
        found.setdefault(_room(module), set()).update(map(_room, imported))
    return {room: imported - {room} for room, imported in found.items()}


def cycles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Return the strongly connected components with more than one module (Tarjan)."""
    found: list[list[str]] = []
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for following in sorted(graph[node]):
            if following not in index:
                visit(following)
                low[node] = min(low[node], low[following])
            elif following in stack:
                low[node] = min(low[node], index[following])
        if low[node] == index[node]:
            component = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(component) > 1:
                found.append(sorted(component))

    for node in sorted(graph):
        if node not in index:
            visit(node)
    return found


def _room(module: str) -> str:
    depth = 3 if module.startswith("ops.gates.") else 2
    return ".".join(module.split(".")[:depth])


def product_modules(root: Path) -> Iterator[Path]:
    """Yield the files of the product's modules below `root`."""
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            if "migrations" not in path.parts:
                yield path


def _functions(tree: ast.Module) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            yield node.name, node.end_lineno - node.lineno + 1


def _types(sources: dict[Path, str]) -> dict[str, list[str]]:
    """Return the classes at module level by name, and the modules that define each."""
    found: dict[str, list[str]] = {}
    for path, text in sources.items():
        for node in ast.parse(text).body:
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, []).append(str(path))
    return found


def _largest(items: list[tuple[int, str]]) -> tuple[str, int]:
    length, name = max(items)
    return name, length


def _dotted(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(tree: ast.Module, package: str) -> Iterator[str]:
    """Yield the dotted name of everything that the module imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = [*above, node.module] if node.level else [node.module]
            yield from (".".join([*filter(None, base), alias.name]) for alias in node.names)


def _module_of(imported: str, names: dict[str, tuple[Path, ast.Module]]) -> str:
    """Return the module that `imported` is, or is a name of; "" outside the product."""
    while imported and imported not in names:
        imported = imported.rpartition(".")[0]
    return imported


if __name__ == "__main__":
    print(measure(Path(sys.argv[1]) if sys.argv[1:] else ROOT).report())
