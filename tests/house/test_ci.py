"""`.ci/run` on a machine without the programs: what it asks of apt, of whom, and how it ends.

The script is the real one. It runs with its own PATH, and with stubs of apt-get, sudo and make.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests import children

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ("bash", "dirname", "env", "paste", "seq", "cat", "mkdir", "touch", "rm")
PROGRAMS = (
    "prometheus",
    "promtool",
    "prometheus-alertmanager",
    "chromium",
    "chromedriver",
    "pgbouncer",
    "nginx",
)

STUBS = {
    "id": "echo ${UID_SAID:-1000}",
    "sleep": "echo sleep $1 >>$CALLS",
    "python3": "exit 0",
    # Root's part, which must not happen to the machine that runs the test.
    "sudo": """
        shift
        case "$1" in
            env) exec "$@" ;;
            true) exit ${SUDO_SAYS:-0} ;;
            *) echo "root: $*" >>$CALLS; cat >/dev/null ;;
        esac""",
    "apt-get": """
        echo "apt-get $DEBIAN_FRONTEND $*" >>$CALLS
        read -r answer && echo "asked the keyboard" >>$CALLS
        case "$*" in *update*) exit ${UPDATE_SAYS:-0};; esac
        echo many lines of progress
        mkdir -p $STATE; echo >>$STATE/tries; mapfile tries <$STATE/tries
        [ ${#tries[@]} -gt ${INSTALL_FAILS:-0} ] || { echo "E: Could not get lock" >&2; exit 100; }
        for name in $BRINGS; do touch $STATE/../bin/$name; chmod +x $STATE/../bin/$name; done""",
    "make": 'echo "make $* REQUIRE_E2E=$REQUIRE_E2E" >>$CALLS; '
    'echo "== 3 passed in 1s =="; exit ${MAKE_SAYS:-0}',
}


class Machine:
    """A PATH with these programs; `run` is `.ci/run` there."""

    def __init__(
        self, place: Path, programs: tuple[str, ...] = (), stubs: tuple[str, ...] = tuple(STUBS)
    ) -> None:
        self.bin, self.calls, self.state = place / "bin", place / "calls", place / "state"
        self.bin.mkdir()
        self.calls.touch()
        for name in (*TOOLS, "chmod"):
            (self.bin / name).symlink_to(shutil.which(name) or name)
        for name in stubs:
            self.put(name, STUBS[name])
        for name in programs:
            self.put(name, "exit 0")

    def put(self, name: str, script: str) -> None:
        (self.bin / name).write_text(f"#!{self.bin}/bash\n{script}\n")
        (self.bin / name).chmod(0o755)

    def run(self, **variables: str) -> subprocess.CompletedProcess[str]:
        own = {
            "PATH": str(self.bin),
            "SBIN": str(self.bin),
            "CALLS": str(self.calls),
            "STATE": str(self.state),
            "BRINGS": " ".join(PROGRAMS),
        }
        command = [self.bin / "bash", ROOT / ".ci" / "run"]
        return children.run(command, env={**own, **variables}, stdin="y\n" * 9, seconds=60)

    def said(self, word: str) -> list[str]:
        """The calls of apt-get, sudo, make and sleep that hold a word."""
        return [line for line in self.calls.read_text().splitlines() if word in line]


def test_where_everything_is_installed_nothing_is_asked_of_apt(tmp_path: Path) -> None:
    machine = Machine(tmp_path, PROGRAMS)
    done = machine.run()
    assert (done.returncode, done.stdout, done.stderr) == (0, "== 3 passed in 1s ==\n", "")
    assert machine.calls.read_text() == "make test REQUIRE_E2E=1\n"


def test_alertmanager_may_have_the_name_that_its_makers_gave_it(tmp_path: Path) -> None:
    names = [name.removeprefix("prometheus-") for name in PROGRAMS]
    machine = Machine(tmp_path, tuple(names))
    assert machine.run().returncode == 0
    assert not machine.said("apt-get")


def test_the_lists_are_renewed_before_the_packages_are_installed_and_nobody_is_asked(
    tmp_path: Path,
) -> None:
    machine = Machine(tmp_path)
    done = machine.run()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "== 3 passed in 1s =="
    assert "progress" not in done.stdout
    update, install = machine.said("apt-get")
    assert " update" in update
    assert " install -y --no-install-recommends make python3-venv prometheus" in install
    for call in (update, install):
        assert call.startswith("apt-get noninteractive -qq -o DPkg::Lock::Timeout=600 ")
    assert not machine.said("keyboard")


def test_no_service_of_a_package_is_started_and_the_policy_does_not_stay(tmp_path: Path) -> None:
    policy = "/usr/sbin/policy-rc.d"
    own = [f"root: tee {policy}", f"root: chmod +x {policy}", f"root: rm -f {policy}"]
    for fails in ("0", "99"):
        place = tmp_path / fails
        place.mkdir()
        machine = Machine(place)
        machine.run(INSTALL_FAILS=fails)
        # One that is there, as in a container, does the same and is left alone.
        assert machine.said("root:") == ([] if Path(policy).exists() else own)


def test_a_busy_machine_is_tried_again_with_fresh_lists(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    done = machine.run(INSTALL_FAILS="2", UPDATE_SAYS="100")
    assert done.returncode == 0
    assert [" update" in call for call in machine.said("apt-get")] == [True, False] * 3
    assert machine.said("sleep") == ["sleep 5", "sleep 10"]
    assert "E: Could not get lock" in done.stderr


def test_packages_that_cannot_be_installed_end_it_before_any_test(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    done = machine.run(INSTALL_FAILS="99")
    assert done.returncode == 1
    assert (
        done.stderr.splitlines()[-1]
        == ".ci/run: the packages could not be installed; see the output above."
    )
    assert not machine.said("make test")


def test_programs_that_no_package_brought_are_named(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    brought = "prometheus promtool prometheus-alertmanager chromium pgbouncer nginx"
    done = machine.run(BRINGS=brought)
    assert (done.returncode, machine.said("make test")) == (1, [])
    assert done.stderr == ".ci/run: still missing after the installation: chromedriver.\n"


NOT_ROOT = {
    "no sudo": (
        {name for name in STUBS if name != "sudo"},
        {},
        "Neither root nor a sudo without a password.",
    ),
    "a sudo that asks": (
        set(STUBS),
        {"SUDO_SAYS": "1"},
        "Neither root nor a sudo without a password.",
    ),
    "no apt": ({name for name in STUBS if name != "apt-get"}, {}, "There is no apt-get here."),
    "no apt, root": (
        {name for name in STUBS if name != "apt-get"},
        {"UID_SAID": "0"},
        "There is no apt-get here.",
    ),
}


@pytest.mark.parametrize("case", NOT_ROOT)
def test_who_may_not_install_is_told_at_once_what_is_missing(case: str, tmp_path: Path) -> None:
    stubs, variables, why = NOT_ROOT[case]
    machine = Machine(tmp_path, ("prometheus", "promtool", "chromium"), tuple(stubs))
    done = machine.run(**variables)
    assert (done.returncode, machine.calls.read_text()) == (1, "")
    assert done.stderr == (
        f".ci/run: missing: alertmanager,chromedriver,pgbouncer,nginx. {why} "
        "Install Debian's packages "
        "make python3-venv prometheus prometheus-alertmanager chromium chromium-driver "
        "pgbouncer nginx or their equivalents, then run it again.\n"
    )


def test_make_and_a_python_that_can_make_environments_are_looked_for_too(tmp_path: Path) -> None:
    machine = Machine(tmp_path, PROGRAMS, ("id", "sleep"))
    machine.put("python3", "exit 1")
    assert ".ci/run: missing: make,python3 (3.11 or newer, with venv)." in machine.run().stderr


def test_a_failing_test_fails_it(tmp_path: Path) -> None:
    assert Machine(tmp_path, PROGRAMS).run(MAKE_SAYS="2").returncode == 2


def test_the_script_is_executable() -> None:
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
