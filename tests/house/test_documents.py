"""What the documents say is so, and no file of the repository names a registry or somebody's machine."""

import re
import subprocess
import tomllib
from collections.abc import Iterator
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

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [
    "README.md",
    "CONTRIBUTING.md",
    *sorted(str(place.relative_to(ROOT)) for place in (ROOT / "docs").rglob("*.md")),
]
TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def tracked() -> Iterator[Path]:
    """Every file that git knows; in an export without git, every file outside hidden directories."""
    command = [
        "git",
        "-c",
        "safe.directory=*",
        "ls-files",
        "-z",
    ]  # a checkout of another account is still a checkout
    if (ROOT / ".git").exists():
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
        names = [ROOT / name for name in listed.decode().split("\0") if name]
    else:
        names = [
            place
            for place in ROOT.rglob("*")
            if not any(part[0] == "." for part in place.relative_to(ROOT).parts)
        ]
    yield from filter(Path.is_file, names)


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


def test_the_architecture_shows_the_layers_that_are_held() -> None:
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
    assert held["Every module of normalization has its place"] in shown
    assert held["The house: who may import whom"] in shown


def words(layer: str) -> tuple[str, ...]:
    """The modules of a layer: what follows two spaces or more is a remark, and the package is named once."""
    modules = (
        re.split(" {2,}", layer.strip())[0]
        .replace("stagenorm.", "")
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
