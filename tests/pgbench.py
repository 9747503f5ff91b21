"""SQL traffic by pgbench: a separate process that logs the result of each transaction."""

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stagenorm.postgres import binaries
from tests import children


@dataclass(frozen=True)
class Counted:
    """Numbers of transactions: committed, failed, and those that failed by a deadlock.

    `milliseconds`: the server's time for each, ascending, without the wait for the client's turn.
    """

    done: int
    failed: int
    deadlocks: int
    milliseconds: list[float]


class Pgbench:
    """Runs `scripts` (SQL → weight) at `url` for `seconds` with `rate` transactions a second.

    `numbers` are variables of the scripts. Nothing is tried again. `directory` must not exist yet.
    """

    def __init__(
        self,
        scripts: Mapping[str, int],
        numbers: Mapping[str, int],
        *,
        url: str,
        directory: Path,
        rate: int,
        seconds: int,
    ) -> None:
        directory.mkdir()
        self.directory = directory
        given = [f"--define={name}={number}" for name, number in numbers.items()]
        for place, (script, weight) in enumerate(scripts.items()):
            (directory / f"{place}.sql").write_text(script)
            given.append(f"--file={place}.sql@{weight}")
        self.process = children.start(
            [
                str(binaries() / "pgbench"), "--no-vacuum", "--client=4", "--jobs=1",
                f"--rate={rate}",
                f"--time={seconds}", "--log", "--failures-detailed", "--max-tries=1", *given, url,
            ],
            cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def wait(self) -> Counted:
        """Wait for the end and return the results.

        Errors other than deadlocks and serialization failures fail the test.
        """
        said, _ = self.process.communicate(timeout=600)
        assert self.process.returncode == 0, said
        done, failed, deadlocks = (_number(f"{name}: (\\d+)", said) for name in NUMBERS)
        # Client, number, time ("failed" without one), script, epoch, µs, lag.
        logs = [
            line.split()
            for log in self.directory.glob("pgbench_log.*")
            for line in log.read_text().splitlines()
        ]
        milliseconds = sorted(
            (int(log[2]) - int(log[6])) / 1000 for log in logs if log[2].isdigit()
        )
        return Counted(done, failed, deadlocks, milliseconds)


NUMBERS = (
    "number of transactions actually processed",
    "number of failed transactions",
    "number of deadlock failures",
)


def _number(pattern: str, said: str) -> int:
    found = re.search(pattern, said)
    assert found, said
    return int(found[1])
