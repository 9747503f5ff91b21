"""What is released: the version, the wheel with all its data, and licences that are allowed."""

from __future__ import annotations

import re
import shutil
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests import children
from tests.house.licences import ROOT, documented, installed
from tests.tracked import tracked

PACKAGES = ("normalization", "ops", "stagenorm")
ALLOWED = {
    "0BSD", "Apache-2.0", "Apache", "Apache Software License", "BSD", "BSD License",
    "BSD-2-Clause", "BSD-3-Clause", "BSD 3-Clause", "CC0-1.0", "ISC", "LGPL-3.0-only", "MIT",
    "MIT License", "MIT-0", "MPL-2.0", "Mozilla Public License 2.0 (MPL 2.0)", "PSF-2.0", "Zlib",
}  # fmt: skip
LOOK = """
import django
django.setup()
from django.template.loader import get_template
for name in ("page.html", "admin/base_site.html", "admin/ops/console.html"):
    get_template(name)
"""


def test_the_newest_version_of_the_changelog_is_that_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    headings = re.findall(r"^## \[(\d.*?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == project["version"]


def test_every_dependency_has_a_listed_licence_that_is_allowed() -> None:
    found = installed()
    assert {name: documented().get(name) for name in found} == found
    parts = {
        # "(A OR B)" has one bracket in each part; "Licence 2.0 (L 2.0)" has both.
        part if part.count("(") == part.count(")") else part.strip("()")
        for licence in found.values()
        for part in re.split(" AND | OR ", licence)
    }
    assert parts - ALLOWED == set()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory in which the wheel is installed; built from a copy of the tracked files."""
    home = tmp_path_factory.mktemp("release")
    for place in tracked():
        copy = home / "source" / place.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(place, copy)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    offline = ["--no-deps", "--no-index"]
    for command in (
        ["wheel", *offline, "--no-build-isolation", "-w", ".", "./source"],
        [
            "install",
            *offline,
            "--target",
            str(home / "site"),
            "--find-links",
            str(home),
            "stagenorm",
        ],
    ):
        done = children.run([*pip, *command], cwd=home, seconds=300)
        assert done.returncode == 0, done.stdout + done.stderr
    return home / "site"


def test_the_wheel_has_every_file_of_the_packages_and_the_templates(site: Path) -> None:
    expected = {
        str(place.relative_to(ROOT))
        for place in tracked()
        if place.relative_to(ROOT).parts[0] in (*PACKAGES, "templates")
    }
    expected = {re.sub("^templates/", "stagenorm/templates/", name) for name in expected}
    [wheel] = site.parent.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == expected


def test_the_installed_package_passes_djangos_checks_and_finds_its_templates(
    site: Path, tmp_path: Path
) -> None:
    environment = {
        "PYTHONPATH": str(site),
        "PATH": "/usr/bin:/bin",
        "DJANGO_SETTINGS_MODULE": "stagenorm.settings",
        "DJANGO_DEBUG": "1",
    }
    for command in (["-m", "django", "check"], ["-c", LOOK]):
        done = children.run([sys.executable, *command], cwd=tmp_path, env=environment)
        assert done.returncode == 0, done.stdout + done.stderr
    assert not (site / ".data").exists()
    assert (tmp_path / ".data").exists()
