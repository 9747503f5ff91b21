"""Clients generated from the schema, by the real generators, lose nothing against the service."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from normalization.problems import document
from stagenorm.portfolio.keys import create_key
from stagenorm.portfolio.models import Fund, PortfolioCompany
from tests import children
from tests.consumers.node_tools import INSTALLED, runtime, tool
from tests.servers import ROOT, Service

HERE = Path(__file__).parent
SCHEMA = ROOT / "docs" / "openapi.yaml"
BIN = Path(sys.executable).parent
SIMULATIONS_A_MINUTE = 5


# CI demands them, as it demands the programs of the e2e tests.
needs_npm = pytest.mark.skipif(
    not INSTALLED.exists() and os.environ.get("REQUIRE_E2E") != "1",
    reason="needs packages of npm: `make setup` could not install them",
)


def run(*command: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a tool to its end; its output explains a failure."""
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    done = children.run(command, env={**environment, **options.pop("env", {})}, **options)
    assert done.returncode == 0, (done.stdout + done.stderr)[-6_000:]
    return done


def test_openapi_spec_validator_finds_nothing() -> None:
    run(BIN / "openapi-spec-validator", SCHEMA)


@needs_npm
def test_spectral_finds_nothing() -> None:
    ruleset = ("--ruleset", HERE / "spectral.yaml", "--fail-severity", "hint")
    run(*tool("spectral"), "lint", SCHEMA, *ruleset)


@needs_npm
def test_redocly_finds_nothing() -> None:
    done = run(*tool("redocly"), "lint", SCHEMA, "--config", HERE / "redocly.yaml")
    assert "warning" not in done.stdout + done.stderr


@pytest.fixture
def served(
    granian_server: Callable[..., Service], set_mode: Callable[..., int], tmp_path: Path
) -> tuple[str, Path]:
    """The address of a service in mode enforce, and a file with the facts of a session."""
    set_mode("enforce")
    fund = Fund.objects.create(name="Alder Ventures I", size_usd=100_000_000)
    empty = Fund.objects.create(name="Birch Capital")
    for name, stage in (("a", "Series C"), ("b", "series c+"), ("c", "Seires A")):
        PortfolioCompany.objects.create(fund=fund, name=name, stage_raw=stage)
    rate = {"SIMULATE_THROTTLE": f"{SIMULATIONS_A_MINUTE}/minute"}
    facts = {
        "fund": fund.pk,
        "empty_fund": empty.pk,
        "key": create_key("consumer")[1],
        "read_only_key": create_key("reader", read_only=True)[1],
        "simulations_a_minute": SIMULATIONS_A_MINUTE,
        "other_problems": [
            document("conflict", 409, "At work."),
            document("unavailable", 503, "No database."),
            document("internal", 500, "A fault."),
        ],
    }
    file = tmp_path / "facts.json"
    file.write_text(json.dumps(facts))
    return granian_server(workers=1, env=rate).address, file


def test_the_python_client_is_typed_and_keeps_a_session(
    served: tuple[str, Path], tmp_path: Path
) -> None:
    target = ("--output-path", tmp_path / "generated", "--meta", "none")
    made = run(BIN / "openapi-python-client", "generate", "--path", SCHEMA, *target)
    assert "Warning" not in made.stdout + made.stderr
    session = tmp_path / "python_session.py"
    shutil.copy(HERE / session.name, session)
    # Silent: errors within the generated files are the generator's.
    options = ("--strict", "--follow-imports=silent", "--config-file=", "--cache-dir", os.devnull)
    run(BIN / "mypy", *options, session.name, cwd=tmp_path)
    assert run(sys.executable, session, *served, cwd=tmp_path).stdout == "done\n"


@needs_npm
def test_the_typescript_client_is_typed_and_keeps_a_session(
    served: tuple[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "node_modules").symlink_to(INSTALLED)
    for name in ("session.ts", "tsconfig.json", "package.json"):
        shutil.copy(HERE / name, tmp_path)
    run(*tool("openapi-typescript"), SCHEMA, "--output", "schema.d.ts", cwd=tmp_path)
    run(*tool("tsc"), "--project", "tsconfig.json", cwd=tmp_path)
    node = runtime() / "bin" / "node"
    assert run(node, "built/session.js", *served, cwd=tmp_path).stdout == "done\n"


@pytest.mark.skipif(shutil.which("java") is None, reason="needs java")
def test_the_python_client_of_openapi_generator_keeps_what_it_reads(
    served: tuple[str, Path], tmp_path: Path
) -> None:
    target = ("-g", "python", "-o", tmp_path / "client")
    run(BIN / "openapi-generator-cli", "generate", "-i", SCHEMA, *target)
    script = HERE / "openapi_generator_session.py"
    done = run(sys.executable, script, *served, env={"PYTHONPATH": str(tmp_path / "client")})
    assert done.stdout == "done\n"
