"""The table of figures at the end of a benchmark run."""

import pytest

from tests.benchmarks import harness


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what `harness.hold` was given."""
    terminalreporter.ensure_newline()
    harness.report()
