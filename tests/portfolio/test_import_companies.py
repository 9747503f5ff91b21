"""`manage.py import_companies`: imported lines, refused lines, and refused files."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import re
import threading
import tracemalloc
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from hypothesis import example, given
from hypothesis import strategies as st

from normalization import decision_file
from normalization.boundary import StagePolicy
from normalization.decision_warnings import DecisionVerdict
from normalization.metrics import REQUESTS
from normalization.models import ObservedSpelling, OutcomeTally, StageDecision
from normalization.observations import OTHER
from normalization.rollout import Mode, Rollout
from normalization.stages import BUILTIN
from stagenorm.portfolio.imports.columns import find_columns, read_mapping
from stagenorm.portfolio.imports.imported_file import FileRefused, open_file
from stagenorm.portfolio.imports.importing import SHOWN_SPELLINGS, ImportRequest, run
from stagenorm.portfolio.imports.lines import COUNTED_SPELLINGS, LineReader
from stagenorm.portfolio.imports.options import ImportOptions
from stagenorm.portfolio.imports.records import (
    LONGEST_RECORD,
    BrokenLine,
    ReadRecord,
    RecordReader,
)
from stagenorm.portfolio.imports.values import MISSING, DateReader
from stagenorm.portfolio.models import CompanyImport, Fund, PortfolioCompany
from tests.decided import decide
from tests.imported import command, import_file, plan_file

HEADER = "name,stage,status,sector,invested_usd,invested_at\n"


@pytest.fixture
def load(fund: Fund, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """``load(text or bytes, "--atomic", …)`` → the JSON of the import, planned and applied.

    A refusal is raised, one of single lines included; `load.printed` is the JSON then.
    """

    def run(content: str | bytes, *options: str) -> dict[str, Any]:
        file = tmp_path / "companies.csv"
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        plan = plan_file(file, fund, *options)["plan"]
        found, refusal = command(file, fund, *options, "--apply", plan)
        run.printed = found  # type: ignore[attr-defined]
        if refusal:
            raise CommandError(refusal)
        return found

    return run


def stored(*fields: str) -> list[Any]:
    return list(
        PortfolioCompany.objects.order_by("pk").values_list(*fields, flat=len(fields) == 1)
    )


def test_a_line_becomes_a_company_with_its_own_words_and_the_stage_that_they_mean(
    load: Callable[..., Any], fund: Fund
) -> None:
    summary = load(
        HEADER
        + 'Fern Robotics,Series A,exited,Robotics,1250000.50,2021-03-04\n" Moss ",seed,,,,\n'
    )
    expected = {
        "fund": fund.pk,
        "mode": "off",
        "lines": 2,
        "imported": 2,
        "rejected": 0,
        "normalized": 1,
        "unknown": 0,
        "outside": 0,
    }
    assert {name: summary[name] for name in expected} == expected
    fields = ("fund", "name", "stage_raw", "stage", "status", "sector", "invested_usd")
    assert stored(*fields, "invested_at") == [
        (
            fund.pk,
            "Fern Robotics",
            "Series A",
            "series-a",
            "exited",
            "Robotics",
            Decimal("1250000.50"),
            date(2021, 3, 4),
        ),
        (fund.pk, "Moss", "seed", "seed", "active", "", None, None),
    ]


def test_a_stage_decided_outside_is_counted_apart(load: Callable[..., Any]) -> None:
    decide("Grant", DecisionVerdict.OUTSIDE)
    summary = load(HEADER + "Fern Robotics,Grant,,,,\nMoss,Seires A,,,,\n")
    assert (summary["imported"], summary["unknown"], summary["outside"]) == (2, 1, 1)
    assert stored("stage_raw", "stage") == [("Grant", None), ("Seires A", None)]


@pytest.mark.parametrize(
    ("mode", "kept"),
    [
        (Mode.OFF, [("Seed Round", "seed"), ("Seires A", None), ("", None)]),
        (Mode.WARN, [("Seed Round", "seed"), ("Seires A", None), ("", None)]),
        (Mode.ENFORCE, [("Seed Round", "seed")]),
    ],
)
def test_an_unknown_stage_is_stored_as_it_came_or_refused_as_the_mode_says(
    load: Callable[..., Any],
    set_mode: Callable[..., int],
    tmp_path: Path,
    mode: Mode,
    kept: list[tuple[str, str | None]],
) -> None:
    set_mode(mode)
    lines = "name,stage\nA,Seed Round\nB,Seires A\nC,\n"
    report = tmp_path / "report.jsonl"
    if mode is Mode.ENFORCE:
        with pytest.raises(CommandError, match="2 of 3 lines were refused"):
            load(lines, "--report", str(report))
        assert [json.loads(line) for line in report.read_text().splitlines()] == [
            {
                "line": 3,
                "column": "stage",
                "reason": "The stage 'Seires A' is not known. Did you mean series-a?",
            },
            {"line": 4, "column": "stage", "reason": "The stage '' is not known."},
        ]
    else:
        assert load(lines)["unknown"] == 2
    assert stored("stage_raw", "stage") == kept


def test_an_override_lets_imports_through_while_the_api_enforces(
    load: Callable[..., Any], set_mode: Callable[..., int]
) -> None:
    set_mode(Mode.ENFORCE, overrides={"import-companies": Mode.WARN})
    assert load("name,stage\nA,Seires A\n")["mode"] == "warn"
    assert stored("stage_raw", "stage") == [("Seires A", None)]


@pytest.mark.parametrize(
    ("mode", "options"), [(Mode.OFF, []), (Mode.WARN, []), (Mode.ENFORCE, ["--atomic"])]
)
def test_unknown_spellings_of_an_import_are_observed_and_no_rate_of_requests_is_moved(
    mode: Mode, options: list[str], load: Callable[..., Any], set_mode: Callable[..., int]
) -> None:
    set_mode(mode)
    before = requests_counted()
    with contextlib.suppress(CommandError):
        load("name,stage\nA,Seires A\nB,Series A\nC,seed\nD,Growth\nE,Seires A\n", *options)
    seen = ObservedSpelling.objects.order_by("spelling").values_list(
        "endpoint", "spelling", "stage", "count"
    )
    assert list(seen) == [
        ("import-companies", "Growth", "", 1),
        ("import-companies", "Seires A", "", 2),
    ]
    assert not OutcomeTally.objects.exists()
    assert requests_counted() == before


def test_a_file_of_free_text_leaves_room_for_what_clients_send(load: Callable[..., Any]) -> None:
    lines = [f"A,junk {number}\n" for number in range(COUNTED_SPELLINGS + 50)]
    load("name,stage\n" + "".join(lines) + "A,junk 7\nA,Seires A\n" + "A,junk 9\n" * 2)
    seen = dict(ObservedSpelling.objects.values_list("spelling", "count"))
    assert len(seen) == SHOWN_SPELLINGS  # the rest, under its own name, is one of them
    assert (seen["junk 9"], seen["junk 7"]) == (3, 2)
    assert sum(seen.values()) == COUNTED_SPELLINGS + 54
    assert seen[OTHER] == sum(seen.values()) - 3 - 2 - (SHOWN_SPELLINGS - 3)


def test_an_import_that_cannot_be_read_to_its_end_leaves_no_observation(
    load: Callable[..., Any],
) -> None:
    with pytest.raises(CommandError):
        load("name,stage\nA,Seires A\nB,\n", "--encoding", "klingon")
    assert not ObservedSpelling.objects.exists()


def requests_counted() -> float:
    """Sum of `stage_validation_requests_total`, which the alerts go by."""
    samples = [sample for metric in REQUESTS.collect() for sample in metric.samples]
    return sum(sample.value for sample in samples if sample.name.endswith("_total"))


REFUSED_LINES = [
    (",seed,,,,", "name", "needs a name"),
    ("x" * 201 + ",seed,,,,", "name", "At most 200 characters, not 201"),
    ("A," + "s" * 256 + ",,,,", "stage", "At most 255"),
    ("A,seed,,".ljust(110, "x") + ",,", "sector", "At most 100"),
    ("A,seed,dormant,,,", "status", "not 'dormant'"),
    ("A,seed,,,-5,", "invested_usd", "not '-5'"),
    ("A,seed,,,1e5,", "invested_usd", "is in USD and written 1250000.50"),
    ("A,seed,,,+Inf,", "invested_usd", "is in USD"),
    ("A,seed,,,1.234,", "invested_usd", "is in USD"),
    ("A,seed,,,123456789012345,", "invested_usd", "is in USD"),
    ("A,seed,,,٣,", "invested_usd", "is in USD"),
    ('A,seed,,,"1,23",', "invested_usd", "is in USD"),
    ("A,seed,,,€5,", "invested_usd", "is in USD"),
    ("A,seed,,,,2021-02-30", "invested_at", "2026-01-31"),
    ("A,seed,,,,04/03/2021", "invested_at", "2026-01-31"),
    ("A,seed,,,,20210304", "invested_at", "2026-01-31"),
    ("A,seed,,,,0000-01-01", "invested_at", "2026-01-31"),
    ("A,seed", "", "2 fields, the header 6"),
    ("A,seed,,,,,extra", "", "7 fields, the header 6"),
]
STRICT = ("--value-errors", "refuse", "--dates", "y-m-d")


def test_each_refused_line_is_reported_with_its_number_and_reason(
    load: Callable[..., Any], tmp_path: Path
) -> None:
    report = tmp_path / "report.csv"
    lines = ["Good,seed,,,,"]
    for line, _, _ in REFUSED_LINES:
        lines += [line, "Good,seed,,,,"]
    text = HEADER + "\n".join(lines) + "\n"
    with pytest.raises(
        CommandError, match=f"{len(REFUSED_LINES)} of {len(lines)} lines were refused"
    ):
        load(text, *STRICT, "--report", str(report))
    with report.open(encoding="utf-8-sig", newline="") as file:
        rejections = list(csv.DictReader(file))
    assert [int(each["_line"]) for each in rejections] == list(
        range(3, 3 + 2 * len(REFUSED_LINES), 2)
    )
    for rejection, (_, column, reason) in zip(rejections, REFUSED_LINES, strict=True):
        assert rejection["_column"] == column
        assert reason in rejection["_reason"]
    assert stored("name") == ["Good"] * (len(REFUSED_LINES) + 1)


def test_optional_cells_that_cannot_be_read_have_no_value_and_are_counted(
    load: Callable[..., Any],
) -> None:
    optional = [line for line, column, _ in REFUSED_LINES if column not in ("", "name", "stage")]
    done = load(HEADER + "\n".join(optional) + "\n", "--dates", "y-m-d")
    assert (done["imported"], done["rejected"]) == (len(optional), 0)
    assert sum(each["cells"] for each in done["values"]) == len(optional)
    assert set(stored("status", "sector", "invested_usd", "invested_at")) == {
        ("active", "", None, None)
    }


def test_atomic_imports_nothing_when_a_line_is_refused_and_reports_all_of_them(
    load: Callable[..., Any], tmp_path: Path
) -> None:
    report = tmp_path / "report.jsonl"
    with pytest.raises(CommandError, match="2 of 4"):
        load("name,stage\nA,seed\n,seed\nB,seed\n,seed\n", "--atomic", "--report", str(report))
    printed = load.printed  # type: ignore[attr-defined]
    assert (printed["imported"], printed["import"]) == (0, None)
    assert stored("name") == []
    assert [json.loads(line)["line"] for line in report.read_text().splitlines()] == [3, 5]
    assert load("name,stage\nA,seed\n", "--atomic")["imported"] == 1


def test_lines_are_counted_through_quoted_line_ends_and_blank_lines(
    load: Callable[..., Any], tmp_path: Path
) -> None:
    report = tmp_path / "report.jsonl"
    text = (
        'name,stage\r\n"two\r\nlines","Pre-seed\n"\r\n\r\n\r\n,seed\r\n'
        '"a ""quoted"" name",seed\r\n,seed'
    )
    with pytest.raises(CommandError, match="2 of 4"):
        load(text, "--report", str(report))
    assert [json.loads(line)["line"] for line in report.read_text().splitlines()] == [7, 9]
    assert stored("name", "stage_raw", "stage") == [
        ("two\r\nlines", "Pre-seed\n", "pre-seed"),
        ('a "quoted" name', "seed", "seed"),
    ]


def test_columns_are_found_by_name_in_any_order_and_case_or_by_mapping(
    load: Callable[..., Any],
) -> None:
    assert load("Stage,ignored,NAME\nseed,x,A\n")["imported"] == 1
    assert load(
        "Round;Company, legal\nseed;B\n",
        "--delimiter",
        ";",
        "--map",
        "stage=Round,name=Company, legal",
    )
    assert load(
        "Round\tCompany\nseed\tC\n",
        "--delimiter",
        "\\t",
        "--map",
        "stage=Round",
        "--map",
        "name=Company",
    )
    assert stored("name") == ["A", "B", "C"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_other_encodings_are_read_when_named(load: Callable[..., Any], encoding: str) -> None:
    options = [] if encoding.startswith("utf-8") else ["--encoding", encoding]
    assert load("name,stage\nÉlan,seed\n".encode(encoding), *options)["imported"] == 1
    assert stored("name") == ["Élan"]


GOOD = "name,stage\n" + "Good,seed\n" * 5_000
REFUSED_FILES: list[tuple[str | bytes, list[str], str]] = [
    ("", [], "The file is empty"),
    ("\n\n", [], "The file is empty"),
    ("name\nA\n", [], "Line 1: missing column stage. The columns are: name"),
    ("company,round\nA,seed\n", [], "missing column name, stage. The columns are: company, round"),
    ("name,stage\nA,seed\n", ["--map", "sector=Industry"], "missing column Industry"),
    ("name,stage\nA,seed\n", ["--key", "id"], "missing column id"),
    ("name,stage,Stage \nA,seed,x\n", [], "the header names 'Stage', 'stage' more than once"),
    ("name,stage,x,x\nA,seed,1,2\n", ["--map", "sector=x"], "'x' more than once"),
    ('"name,stage\nA,seed\n', [], "Line 1: the header cannot be read"),
    ("na\0me,stage\nA,seed\n", [], "Line 1: the header cannot be read. .*NUL"),
    ("x," * 2_001 + "\n", [], "more than 2,000 columns"),
    (GOOD.encode() + b"caf\xe9,seed\n", [], "Line 5002: byte 50014 is not UTF-8 text"),
    (GOOD.encode() + b"cut\xc3", [], "Line 5002: byte 50014 is not UTF-8 text"),
    (GOOD.encode() + b"cut\xc3", ["--encoding", "ascii"], "Line 5002: byte 50014 is not ascii"),
    (b"name,stage\nA,se\x81\n", ["--encoding", "utf-8+cp1252"], "byte 15 is not utf-8.cp1252"),
    (b"name,stage\nA,seed\n", ["--encoding", "utf-16"], "not utf-16 text"),
    (GOOD, ["--encoding", "klingon"], "Unknown or unsafe text encoding 'klingon'"),
    (GOOD, ["--encoding", "base64"], "Unknown or unsafe text encoding 'base64'"),
    (GOOD, ["--encoding", "utf-8+unicode_escape"], "unsafe text encoding 'unicode_escape'"),
    (GOOD, ["--delimiter", "||"], "The delimiter is one character"),
    (GOOD, ["--delimiter", '"'], "The delimiter is one character"),
    (GOOD, ["--map", "round=stage"], "is not field=Column"),
    (GOOD, ["--map", "stage="], "is not field=Column"),
    (GOOD, ["--map", "stage=a,stage=b"], "names stage twice"),
    (GOOD, ["--status", "closed=gone"], "--status 'closed=gone' is not word=STATUS"),
]


@pytest.mark.parametrize(("content", "options", "message"), REFUSED_FILES)
def test_a_file_that_cannot_be_read_is_one_error_that_names_the_line_and_nothing_is_imported(
    load: Callable[..., Any],
    tmp_path: Path,
    content: str | bytes,
    options: list[str],
    message: str,
) -> None:
    report = tmp_path / "report.jsonl"
    report.write_text("of an earlier import")
    with pytest.raises(CommandError, match=message) as refused:
        load(content, "--report", str(report), *options)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 400
    assert not CompanyImport.objects.exists()
    assert stored("name") == []
    assert report.read_text() == "of an earlier import"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["companies.csv", "report.jsonl"]


def test_a_file_a_fund_or_a_report_that_is_not_there_is_one_error(
    fund: Fund, tmp_path: Path
) -> None:
    file = tmp_path / "companies.csv"
    file.write_text("name,stage\nA,seed\n")
    for path, number, options, message in (
        (tmp_path / "none.csv", fund.pk, [], "No such file"),
        (tmp_path, fund.pk, [], "Is a directory"),
        (file, fund.pk + 1, [], f"Fund {fund.pk + 1} does not exist"),
        (file, 10**30, [], f"Fund {10**30} does not exist"),
        (file, fund.pk, ["--report", str(tmp_path / "no" / "report")], "Cannot write the report"),
        (file, fund.pk, ["--report", str(file)], "would overwrite the imported file"),
    ):
        with pytest.raises(CommandError, match=message):
            call_command("import_companies", str(path), "--fund", str(number), *options)
    assert stored("name") == []
    assert file.read_text() == "name,stage\nA,seed\n"


def test_text_from_the_file_cannot_steer_the_terminal_or_a_spreadsheet(
    load: Callable[..., Any], tmp_path: Path
) -> None:
    report = tmp_path / "report.csv"
    with pytest.raises(CommandError):
        load("name,stage,status\nA,seed,\x1b[31m\n=1,seed,@x\n", *STRICT, "--report", str(report))
    assert "\x1b" not in report.read_text()
    with report.open(encoding="utf-8-sig", newline="") as file:
        assert all(cell[:1] not in "=+-@" for row in csv.reader(file) for cell in row if cell)


@pytest.mark.parametrize(
    ("pairs", "mapping"),
    [
        ([], {}),
        (["name=Company,stage=Round"], {"name": "Company", "stage": "Round"}),
        (["name=Company, Inc, stage = Round "], {"name": "Company, Inc", "stage": "Round"}),
        (["stage=a=b"], {"stage": "a=b"}),
    ],
)
def test_a_mapping_is_read_with_commas_inside_names(
    pairs: list[str], mapping: dict[str, str]
) -> None:
    assert read_mapping(pairs) == mapping


def test_memory_does_not_grow_with_the_file(fund: Fund, tmp_path: Path) -> None:
    file = tmp_path / "companies.csv"
    peaks = []
    for lines in (10_000, 40_000):
        file.write_text("name,stage\n" + "Fern Robotics,Series A\n" * lines)
        with open_file(file) as opened:
            tracemalloc.start()
            assert run(ImportRequest(opened, fund)).new == lines
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert peaks[1] < peaks[0] * 1.2


def test_a_cell_of_a_gigabyte_is_one_refused_line_that_is_never_held(
    fund: Fund, tmp_path: Path
) -> None:
    file = tmp_path / "endless.csv"
    with file.open("wb") as endless:
        endless.write(b"name,stage\n")
        endless.truncate(2**27)  # a hole, read as NUL characters
        endless.seek(0, 2)
        endless.write(b"\nA,Seed\n")
    with open_file(file) as opened:
        tracemalloc.start()
        plan = run(ImportRequest(opened, fund))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert (plan.new, [each.line for each in plan.refused]) == (1, [2])
    assert peak < 12 * LONGEST_RECORD


@pytest.mark.parametrize("fill", ["\0", "x"])
def test_a_line_without_end_is_given_up_without_being_held(tmp_path: Path, fill: str) -> None:
    file = tmp_path / "endless.csv"
    file.write_text(f"name,stage\n{fill * (20 * LONGEST_RECORD)}\nA,Seed\n")
    with file.open(newline="") as text:
        tracemalloc.start()
        records = list(RecordReader(text, ",").read(2))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert [number for number, _ in records] == [1, 2, 3]
    assert isinstance(records[1][1], BrokenLine)
    assert peak < 6 * LONGEST_RECORD


CELLS = st.tuples(
    st.sampled_from(["A", " Bé ", "tab\there", "back\\slash", "", "x" * 201]),
    st.sampled_from(["seed", "Series A", "Foo", "C+\tD", ""]),
    st.sampled_from(["active", "Exited", "", "dormant"]),
    st.sampled_from(["5", "$1,000.50", "€5", "-"]),
)


@given(st.lists(CELLS, min_size=1, max_size=8))
@example([("A", "seed", "active", "5")])
def test_a_batch_becomes_the_same_rows_whether_or_not_it_has_a_broken_line(
    found: list[tuple[str, ...]],
) -> None:
    batch: list[ReadRecord] = [(number, list(cells)) for number, cells in enumerate(found, 2)]
    broken = (1, BrokenLine("x", "malformed"))
    sound, mixed = (line_reader(), line_reader())
    # The first reading makes the stages known.
    rows = [*sound.rows([batch, batch])]
    assert rows == [*mixed.rows([[broken, *batch], [broken, *batch]])]
    assert sound.counts.stages == mixed.counts.stages
    assert sound.counts.faults == mixed.counts.faults
    assert sound.counts.rejected == mixed.counts.rejected - 2


def line_reader() -> LineReader:
    """Return a reader of lines with name, stage, status and invested_usd, in `off`."""
    names = ("name", "stage", "status", "invested_usd")
    columns = find_columns((1, list(names)), {})
    policy = StagePolicy(Mode.OFF, Rollout(Mode.OFF), 1, BUILTIN)
    dates = DateReader(MISSING, "y-m-d")
    return LineReader(columns, ImportOptions(), policy, dates, lambda rejection: None)


def test_without_a_report_the_first_refused_lines_are_shown(fund: Fund, tmp_path: Path) -> None:
    file, out = tmp_path / "companies.csv", StringIO()
    file.write_text("name,stage\n" + ",seed\n" * 32 + "A,Seed\n")
    with pytest.raises(CommandError, match="32 of 33"):
        call_command("import_companies", str(file), "--fund", str(fund.pk), stdout=out)
    shown = re.findall(r"^\D*(\d+)\D+name\W+A company needs a name", out.getvalue(), re.MULTILINE)
    assert [int(line) for line in shown] == list(range(2, 22))
    assert "and 12 more: --report FILE.csv has them all" in out.getvalue()


def test_a_pipe_of_too_many_bytes_is_refused(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=("x" * 100,))
    writer.start()
    with pytest.raises(FileRefused, match="more than 99 bytes"), open_file(pipe, most_spooled=99):
        pass
    writer.join()


def test_progress_of_each_step_grows_up_to_the_whole_file(fund: Fund, tmp_path: Path) -> None:
    file = tmp_path / "companies.csv"
    file.write_text("name,stage\n" + "Fern,seed\n" * 100_000)
    reported: dict[str, list[int]] = {}

    def report(step: str, done: int, total: int) -> None:
        assert done <= total
        reported.setdefault(step, []).append(done)

    with open_file(file) as opened:
        run(ImportRequest(opened, fund, progress=report))
    assert reported.keys() == {"reading", "checking", "storing"}
    assert all(done == sorted(done) for done in reported.values())
    assert reported["reading"][-1] == file.stat().st_size
    assert reported["checking"][-1] == file.stat().st_size


def test_an_import_that_dies_midway_leaves_nothing(fund: Fund, tmp_path: Path) -> None:
    file = tmp_path / "companies.csv"
    file.write_text(GOOD)
    plan = plan_file(file, fund)["plan"]

    def interrupt(step: str, done: int, total: int) -> None:
        if step == "storing":  # all lines are copied
            raise KeyboardInterrupt

    with open_file(file) as opened, pytest.raises(KeyboardInterrupt):
        run(ImportRequest(opened, fund, progress=interrupt), approved=plan)
    assert stored("name") == []
    assert import_file(file, fund)["plan"] == plan


def test_a_plan_is_readable_in_80_columns_and_leads_to_decisions(
    fund: Fund, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, drafted = tmp_path / "companies.csv", tmp_path / "decisions.csv"
    header = "Startup,Stage of the round,Amount,extra column,another column\n"
    lines = [f"Company {each},Some Stage {each % 7},€5,x,y\n" for each in range(60)]
    file.write_text(header + "".join(lines) + ",Seed,1,x,y\nA,seed\n")
    options = ["--map", "name=Startup,stage=Stage of the round,invested_usd=Amount"]
    out = StringIO()
    with pytest.raises(CommandError, match="2 of 62 lines were refused"):
        call_command(
            "import_companies", str(file), "--fund", str(fund.pk), *options,
            "--decisions", str(drafted), stdout=out,
        )  # fmt: skip
    printed = [line.rstrip() for line in out.getvalue().splitlines()]
    assert max(map(len, printed)) <= 80
    for text in (
        "Ignored        extra column, another column",
        "60 lines without a decided stage are stored as written.",
        "/admin/ops/spellings/",
        "manage.py stage_decisions plan FILE.csv",
        "60 amounts not in USD",
        "Nothing was written.",
    ):
        assert any(text in line for line in printed), text
    # The draft decides nothing until a verdict is filled in; then it is a file of decisions.
    rows = decision_file.read(drafted.read_bytes())
    assert {(row.spelling, row.verdict.value) for row in rows} == {
        (f"Some Stage {each}", "open") for each in range(7)
    }
    assert not StageDecision.objects.exists()
