"""docs/how-to.md names real files and tests, and the steps that it lists cannot be forgotten."""

from __future__ import annotations

import ast
import inspect
import re
import tomllib
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import get_type_hints

import pytest
from django.apps import apps
from django.conf import settings
from django.urls import resolve

from normalization.fields import StageField
from normalization.stages import Stage
from ops.alerts import signature
from ops.gates import facts, rules
from ops.pages import panels

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "how-to.md").read_text()
INLINE = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", TEXT, flags=re.DOTALL))
EXAMPLE = "stagenorm/deals"
PATHS = sorted(
    {
        name
        for name in INLINE
        if re.fullmatch(r"[\w./-]+/[\w./-]*|[A-Z]+\.md|[a-z]+\.toml", name) and name != EXAMPLE
    }
)
TESTS = sorted({name for name in INLINE if "::" in name})


@pytest.mark.parametrize("path", PATHS)
def test_every_file_of_a_recipe_exists(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize("test", TESTS)
def test_every_test_that_a_recipe_relies_on_exists(test: str) -> None:
    path, _, name = test.partition("::")
    functions = {
        node.name
        for node in ast.walk(ast.parse((ROOT / path).read_text()))
        if isinstance(node, ast.FunctionDef)
    }
    assert name in functions


def test_there_are_six_recipes_each_with_a_table_of_omissions() -> None:
    recipes = TEXT.split("\n## ")[1:]
    assert len(recipes) == 6
    assert all("| omitted | what fails |" in recipe for recipe in recipes)


# -- Add a seventh stage --------------------------------------------------------------------------

NUMBERS = {4: "four", 5: "five", 6: "six", 7: "seven", 8: "eight", 9: "nine"}
ANY_NUMBER = "|".join(NUMBERS.values())
COUNTED_STAGES = re.compile(
    rf"\b({ANY_NUMBER})\s+stages\b|\bone\s+of\s+({ANY_NUMBER})\b"
    rf"|\b(?:outside|any\s+of|none\s+of|one\s+of)\s+the\s+({ANY_NUMBER})\b",
    re.IGNORECASE,
)


def test_texts_name_the_number_of_stages_that_there_are() -> None:
    places = [ROOT / "README.md"]
    for kind in ("py", "md", "html", "csv", "yaml"):
        for root in ("normalization", "ops", "stagenorm", "templates", "docs"):
            places += (ROOT / root).rglob(f"*.{kind}")
    named = [
        (str(place.relative_to(ROOT)), "".join(found.groups("")).lower())
        for place in places
        for found in COUNTED_STAGES.finditer(place.read_text())
    ]
    assert len(named) > 50
    assert [each for each in named if each[1] != NUMBERS[len(Stage)]] == []


# -- Add a second table ---------------------------------------------------------------------------


def test_every_package_with_models_is_installed() -> None:
    packages = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for root in ("normalization", "ops", "stagenorm")
        for path in (ROOT / root).rglob("apps.py")
    }
    assert packages == {
        config.name for config in apps.get_app_configs() if Path(config.path).is_relative_to(ROOT)
    } - {config.name for config in apps.get_app_configs() if ".venv" in config.path}


def test_every_application_has_its_place_in_the_import_contracts() -> None:
    settings_of = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    between, within = (contract["layers"] for contract in settings_of["contracts"][:2])
    for path in (ROOT / "stagenorm").rglob("apps.py"):
        name = path.parent.name
        assert f"stagenorm.{name}" in _members(between), name
        assert name in _members(within), name


def _members(layers: list[str]) -> set[str]:
    return {name for layer in layers for name in re.findall(r"[\w.]+", layer)}


def test_every_endpoint_that_opens_a_boundary_is_listed_in_the_settings() -> None:
    assert _opened(ROOT / "normalization") | _opened(ROOT / "stagenorm") <= set(
        settings.STAGE_ENDPOINTS
    )


def test_every_endpoint_of_the_settings_opens_a_boundary() -> None:
    assert set(settings.STAGE_ENDPOINTS) <= _opened(ROOT / "stagenorm")


def test_every_application_with_a_stage_field_opens_a_boundary() -> None:
    packages = {
        model._meta.app_config.path
        for model in apps.get_models()
        if any(isinstance(field, StageField) for field in model._meta.concrete_fields)
    }
    assert packages
    assert [path for path in packages if not _opened(Path(path))] == []


@pytest.mark.parametrize("address", settings.STAGE_ENDPOINTS.values())
def test_every_endpoint_of_the_settings_has_a_view(address: str) -> None:
    _, path = address.split(" ")
    assert callable(resolve(re.sub(r"\{\w+\}", "1", path)).func)


@cache
def _opened(package: Path) -> set[str]:
    """Return the endpoints that the modules of a package open a boundary for."""
    return {
        name for path in package.rglob("*.py") for name in _endpoints(ast.parse(path.read_text()))
    }


def _endpoints(tree: ast.Module) -> list[str]:
    """Return the endpoints that calls of `open_boundary` name as text or as a module constant."""
    constants = {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Constant)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("open_boundary"):
            for keyword in node.keywords:
                if keyword.arg == "endpoint":
                    value = keyword.value
                    text = value.value if isinstance(value, ast.Constant) else None
                    name = constants.get(value.id) if isinstance(value, ast.Name) else text
                    found += [str(name)] if name else []
    return found


# -- Add a gate -----------------------------------------------------------------------------------


def test_every_rule_over_gate_facts_is_a_gate() -> None:
    found = {
        name
        for name, function in inspect.getmembers(rules, inspect.isfunction)
        if get_type_hints(function).get("return") is rules.GateVerdict
        and list(inspect.signature(function).parameters) == ["facts"]
    }
    # Parts of a rule have the same form, and the rule calls them.
    called = {
        ast.unparse(node.func)
        for node in ast.walk(ast.parse(inspect.getsource(rules)))
        if isinstance(node, ast.Call)
    }
    assert found - called == {gate.__name__ for gate in rules.GATES}


def test_every_gate_fact_is_collected() -> None:
    calls = [
        node
        for node in ast.walk(ast.parse(inspect.getsource(facts)))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "GateFacts"
    ]
    collected = {keyword.arg for call in calls for keyword in call.keywords}
    assert collected == {field.name for field in fields(rules.GateFacts)}


def test_every_gate_has_a_title_and_a_link() -> None:
    names = [gate.__name__ for gate in rules.GATES]
    assert list(panels.GATE_TITLES) == list(panels.GATE_PLACES) == names


@pytest.mark.parametrize("document", ["backups.md", "rollout.md"])
def test_the_documents_list_every_gate(document: str) -> None:
    text = (ROOT / "docs" / document).read_text()
    listed = set(re.findall(r"^\|.*?`([a-z_]+)`.*\|$", text, re.MULTILINE))
    assert {gate.__name__ for gate in rules.GATES} <= listed


def test_the_changelog_names_every_gate() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    assert [gate.__name__ for gate in rules.GATES if f"`{gate.__name__}`" not in text] == []


# -- Change the signature header ------------------------------------------------------------------


def test_documents_and_senders_use_the_headers_of_the_signature() -> None:
    headers = {signature.SIGNATURE_HEADER, signature.TIMESTAMP_HEADER}
    places = [*(ROOT / "docs").rglob("*.md"), *(ROOT / "tests").rglob("*.py")]
    used = {
        header
        for place in places
        for header in re.findall(
            r"\bX-\w+-(?:Signature|Timestamp)\b", place.read_text(), re.IGNORECASE
        )
    }
    assert {header.title() for header in used} == headers
