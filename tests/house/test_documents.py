"""The documents match the code, and no tracked file names a registry or one machine's path."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from django.core.management import get_commands
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.test import APIRequestFactory
from rest_framework.views import APIView

from normalization.boundary import open_boundary
from normalization.stages import Known
from tests.tracked import tracked

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [
    "README.md",
    "CONTRIBUTING.md",
    *sorted(str(place.relative_to(ROOT)) for place in (ROOT / "docs").rglob("*.md")),
]
TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_make_target_that_a_document_names_exists(document: str) -> None:
    assert set(re.findall(r"`?make ([a-z]+)`", (ROOT / document).read_text())) <= TARGETS


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_management_command_that_a_document_names_exists(document: str) -> None:
    assert set(re.findall(r"manage\.py ([a-z_]+)", (ROOT / document).read_text())) <= set(
        get_commands()
    )


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_of_a_document_leads_to_a_file(document: str) -> None:
    place = ROOT / document
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", place.read_text())
    assert [target for target in targets if not (place.parent / target).exists()] == []


def test_the_architecture_shows_the_layers_of_the_import_contracts() -> None:
    document = (ROOT / "docs" / "architecture.md").read_text()
    blocks = [block.splitlines()[1:] for block in document.split("```")[1::2]]
    shown = {tuple(words(line) for line in block) for block in blocks}
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"][
        "contracts"
    ]
    held = {
        contract["name"]: tuple(words(layer) for layer in contract.get("layers", ()))
        for contract in contracts
    }
    undocumented = [name for name, layers in held.items() if layers and layers not in shown]
    assert undocumented == ["Every module of stagenorm has its place"]  # part of the packages' one


def words(layer: str) -> tuple[str, ...]:
    """Return the modules of a layer without package names, and without a remark after spaces."""
    modules = (
        re.split(" {2,}", layer.strip())[0]
        .replace("stagenorm.", "")
        .replace("ops.", "")
        .replace("(", "")
        .replace(")", "")
    )
    return tuple(sorted(module.strip() for module in modules.split("|")))


def test_the_changelog_keeps_its_form() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    assert all(
        re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", heading) for heading in headings[1:]
    )
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.*)$", text, re.MULTILINE)) <= kinds


def test_no_tracked_file_names_a_registry_or_a_path_of_one_machine() -> None:
    # In pieces, so that this file does not name them either.
    registry = [
        "pypi" + r"\.org",
        "pythonhosted" + r"\.org",
        "registry" + r"\.npmjs",
        "deb" + r"\.debian\.org",
    ]
    machine = [r"(?<![\w.])/" + "work/", "/" + r"tmp/w/", "/" + r"root/\w", "/home/" + r"\w"]
    forbidden = re.compile("|".join(registry + machine))
    found = {}
    for place in tracked():
        try:
            text = place.read_text()
        except UnicodeDecodeError:
            continue
        if hits := forbidden.findall(text):
            found[str(place.relative_to(ROOT))] = hits
    assert found == {}


@pytest.mark.django_db
def test_the_fourth_endpoint_of_the_documentation_works_as_printed(set_mode: Any) -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    code = re.search(
        r"<!-- fourth-endpoint -->\n```python\n(.*?)```\n<!-- end -->", text, re.DOTALL
    )
    assert code
    names: dict[str, Any] = {
        "APIView": APIView,
        "Request": Request,
        "Response": Response,
        "open_boundary": open_boundary,
        "Known": Known,
    }
    exec(code[1], names)
    view = names["Rounds"].as_view(authentication_classes=[], permission_classes=[])
    assert sum("boundary" in line for line in code[1].splitlines()) == 3

    set_mode("warn")
    request = APIRequestFactory().post(
        "/rounds", {"stages": ["SERIES_A", "Seires A"]}, format="json"
    )
    answer = view(request)
    assert answer.status_code == 200
    assert answer.data["stages"] == ["series-a", None]
    assert answer.data["warnings"][0]["suggestions"] == ["series-a"]
    assert "Deprecation" in answer

    set_mode("enforce")
    request = APIRequestFactory().post(
        "/rounds", {"stages": ["SERIES_A", "Seires A"]}, format="json"
    )
    answer = view(request)
    assert answer.status_code == 400
    assert answer.data["errors"][0]["pointer"] == "/stages/1"
