"""`make` sets up without a long silence, and names what is wrong with the machine."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests import children

ROOT = Path(__file__).parents[2]


def make(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run make with the project's Makefile in another directory."""
    return children.run(
        ["make", "--file", ROOT / "Makefile", *arguments],
        cwd=directory,
        env={"PATH": os.environ["PATH"], "HOME": str(directory)},
    )


def program(path: Path, text: str) -> None:
    """Write a shell script that stands for a program of the machine."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_a_python_that_is_too_old_is_named_before_anything_is_made(tmp_path: Path) -> None:
    program(tmp_path / "python3.9", "exit 1")
    made = make(tmp_path, ".venv/bin/python", f"PYTHON={tmp_path}/python3.9")
    assert made.returncode != 0
    assert "python3.9 is not Python 3.11 or newer. Name one with PYTHON=" in made.stderr
    assert not (tmp_path / ".venv").exists()


def test_a_checkout_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    # Not even root makes a directory there.
    made = make(tmp_path, "/proc/none/.venv/bin/python", "VENV=/proc/none/.venv")
    assert made.returncode != 0
    assert "/proc/none/.venv cannot be written. Use a checkout that belongs to you." in made.stderr


@pytest.mark.parametrize("status", [0, 3])
def test_a_slow_installation_shows_that_it_works_and_keeps_its_status(
    tmp_path: Path, status: int
) -> None:
    program(tmp_path / ".venv/bin/python", f"sleep 4; exit {status}")
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements/runtime.txt").touch()
    made = make(tmp_path, ".venv/.runtime")
    assert (made.returncode == 0) is (status == 0)
    assert made.stdout.splitlines()[0].startswith("Installing requirements/runtime.txt")
    assert made.stdout.splitlines()[1] == "."
    assert (tmp_path / ".venv/.runtime").exists() is (status == 0)
