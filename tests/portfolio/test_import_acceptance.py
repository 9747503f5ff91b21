"""What `import_companies` does with the forms in which real files come: one table of cases."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from normalization.models import StageDecision
from stagenorm.portfolio.models import Fund, PortfolioCompany
from tests.imported import command, import_file, plan_file

GOOD = 1_000
GOOD_LINES = "".join(f"Company {number},Seed,ok\n" for number in range(GOOD))
TWO = "".join(f"Company {number},Seed\n" for number in range(GOOD))


@dataclass(frozen=True)
class Case:
    """A file, the options, and what is stored: lines in, numbers of refused lines, values.

    `plan` are members of the plan, `refusal` a text of the error that refuses the whole file.
    """

    content: str | bytes
    options: tuple[str, ...] = ()
    stored: int = 0
    refused: tuple[int, ...] = ()
    values: tuple[Any, ...] = ()
    of: str = "name"
    plan: Mapping[str, Any] = field(default_factory=dict)
    refusal: str = ""


CASES = {
    "a column can be left out": Case(
        "name,stage,status\nAcme,Seed,operating\n", ("--map", "status="), 1, values=("active",),
        of="status",
    ),
    "a quote that is not closed costs its line": Case(
        "name,stage,note\nX,Seed,ok\n" 'Y,"Series A,bad\n' + GOOD_LINES, (), GOOD + 1, (3,)
    ),
    "a quote that is closed 500 lines later costs its line": Case(
        "name,stage,note\nX,Seed,ok\n" 'Y,"Series A,bad\n'
        + GOOD_LINES.replace("Company 500,", 'Company" 500,'), (), GOOD + 1, (3,),
    ),
    "a quote that is closed at the end of a line of the right width costs its line": Case(
        "name,stage,note\nX,Seed,ok\n" 'Y,Seed,"bad\n'
        + GOOD_LINES.replace("Company 500,Seed,ok", 'Company 500,Seed,ok"'), (), GOOD + 1, (3,),
    ),
    "a cell of several lines that swallows one record costs its line": Case(
        'name,stage,note\nX,"Seed,ok\nA,Seed,ok\nB",Seed,ok\nC,Seed,ok\n', (), 3, (2,),
    ),
    "quotes inside quotes cost their line, which the report has raw": Case(
        "name,stage\n" '"Beta "Labs" Inc",Series A\n' + TWO, (), GOOD, (2,)
    ),
    "marks of a missing amount, grouping and the dollar are read": Case(
        'name,stage,invested_usd\nA,Seed,-\nB,Seed,N/A\nC,Seed,"1,500,000"\nD,Seed,$5\n'
        'E,Seed,"20,00,00,000"\nF,Seed,USD 7.50\nG,Seed,1 200 000\nH,Seed,Undisclosed\n',
        (), 8, of="invested_usd",
        values=(None, None, Decimal(1_500_000), Decimal(5), Decimal(200_000_000), Decimal("7.50"),
                Decimal(1_200_000), None),
        plan={"values": []},
    ),
    "another currency has no amount and is counted": Case(
        'name,stage,invested_usd\nA,Seed,"₹40,000,000"\n', (), 1, of="invested_usd",
        values=(None,),
        plan={"values": [{"column": "invested_usd", "field": "invested_usd", "why": "not in USD",
                          "cells": 1}]},
    ),
    "an amount with a decimal comma is never another amount": Case(
        'name,stage,invested_usd\nA,Seed,"1.500,50"\nB,Seed,1.500\n', (), 2, of="invested_usd",
        values=(None, None),
    ),
    "an amount with a decimal comma is read with --decimal": Case(
        'name,stage,invested_usd\nA,Seed,"1.500,50"\nB,Seed,"$ 2,5"\n', ("--decimal", ","), 2,
        of="invested_usd", values=(Decimal("1500.50"), Decimal("2.50")),
    ),
    "dates of two readings are refused, and both are named": Case(
        "name,stage,invested_at\nA,Seed,03/04/2024\nB,Seed,05/06/2024\n",
        refusal=r"'03/04/2024' is d/m/y \(3 April 2024\) or m/d/y \(4 March 2024\).*--dates",
    ),
    "dates of two readings are read with --dates": Case(
        "name,stage,invested_at\nA,Seed,03/04/2024\nB,Seed,05/06/2024\n", ("--dates", "d/m/y"), 2,
        of="invested_at", values=(date(2024, 4, 3), date(2024, 6, 5)),
    ),
    "the one form that fits all dates is taken and named": Case(
        "name,stage,invested_at\nA,Seed,3/6/2023\nB,Seed,3/25/2023\nC,Seed,soon\n", (), 3,
        of="invested_at", values=(date(2023, 3, 6), date(2023, 3, 25), None),
        plan={"dates": "m/d/y"},
    ),
    "dates that no form fits are refused until one is named": Case(
        "name,stage,invested_at\nA,Seed,25/3/2023\nB,Seed,3/25/2023\n",
        refusal="No form fits all dates",
    ),
    "a first line names the delimiter": Case(
        "sep=;\nname;stage\nAcme;Seed\n", (), 1, plan={"delimiter": ";"}
    ),
    "the first of two columns that is not missing is taken": Case(
        "name,code,type\nA,A,venture\nB,,seed\n", ("--map", "stage=code|type"), 2,
        of="stage_raw", values=("A", "seed"),
    ),
    "a byte that is not UTF-8 stops the import": Case(
        b"name,stage\nJoe\x92s,Seed\n", refusal="Line 2: byte 14 is not UTF-8"
    ),
    "a file of two encodings is read": Case(
        b"name,stage\nJoe\x92s,Seed\nCaf\xc3\xa9,Seed\n", ("--encoding", "utf-8+cp1252"), 2,
        values=("Joe’s", "Café"), plan={"bytes_by_fallback": 1},
    ),
    "lines may end with CR alone": Case(b"name,stage\rA,Seed\rB,Seed\r", (), 2),
    "UTF-16 with tabs is read": Case("name\tstage\nÉlan\tSeed\n".encode("utf-16"), (), 1,
                                     values=("Élan",), plan={"delimiter": "\t"}),
    "a codec that interprets escapes is refused": Case(
        "name,stage\nA,Seed\n", ("--encoding", "unicode_escape"),
        refusal=r"\AUnknown or unsafe text encoding 'unicode_escape'[^\n]*\Z",
    ),
    "empty, doubled and extra headers that are not mapped are ignored": Case(
        "name,,x,x,stage\nA,1,2,3,Seed\n", (), 1,
        plan={"ignored_columns": ["(no name)", "x", "x"]},
    ),
    "a doubled header that is mapped is refused": Case(
        "name,stage,Stage\nA,Seed,x\n", refusal="names 'Stage', 'stage' more than once"
    ),
    "a missing mark in the stage is the text that it is": Case(
        "name,stage\nA,-\nB,N/A\n", (), 2, of="stage_raw", values=("-", "N/A")
    ),
    "an optional cell refuses its line with --value-errors refuse": Case(
        "name,stage,invested_usd\nA,Seed,many\nB,Seed,1\n", ("--value-errors", "refuse"), 1, (2,)
    ),
    "a NUL character refuses its line": Case("name,stage\nA,Se\0ed\nB,Seed\n", (), 1, (2,)),
    "a line of 2 MiB is refused, and the next is read": Case(
        "name,stage\n" + "x" * 2**21 + ",Seed\nB,Seed\n", (), 1, (2,)
    ),
    "two equal lines are two companies": Case("name,stage\nA,Seed\nA,Seed\n", (), 2),
    "lines of empty cells are no companies": Case("name,stage\nA,Seed\n,\n\nB,Seed\n,,\n", (), 2),
    "other words for a status are read with --status": Case(
        "name,stage,status\nA,Seed,Operating\nB,Seed,ipo\nC,Seed,closed\nD,Seed,?\n",
        ("--status", "operating=active,ipo=exited,closed=written_off"), 4, of="status",
        values=("active", "exited", "written_off", "active"),
    ),
    "more refused lines than allowed stop the import": Case(
        "name,stage\n,Seed\n,Seed\n,Seed\n", ("--max-refused", "2"),
        refusal="Line 4: more than 2 lines are refused",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_file_is_imported_as_its_form_means(case: Case, fund: Fund, tmp_path: Path) -> None:
    file, report = tmp_path / "companies.csv", tmp_path / "report.csv"
    file.write_bytes(case.content if isinstance(case.content, bytes) else case.content.encode())
    if case.refusal:
        with pytest.raises(CommandError) as refused:
            plan_file(file, fund, *case.options)
        assert re.search(case.refusal, str(refused.value)), refused.value
        return
    plan = plan_file(file, fund, *case.options)
    assert not PortfolioCompany.objects.exists()
    assert [each["line"] for each in plan["refused"]] == list(case.refused)
    assert {name: plan[name] for name in case.plan} == case.plan
    done = import_file(file, fund, *case.options, "--report", str(report))
    assert (done["imported"], done["rejected"]) == (case.stored, len(case.refused))
    stored = PortfolioCompany.objects.order_by("pk").values_list(case.of, flat=True)
    assert len(stored) == case.stored
    if case.values:
        assert tuple(stored) == case.values
    assert not StageDecision.objects.exists()
    # The whole file again adds nothing.
    again, _ = command(file, fund, *case.options)
    assert (again["new"], again["skipped"]) == (0, case.stored)


def test_a_line_that_is_not_utf_8_is_shown_in_three_encodings(fund: Fund, tmp_path: Path) -> None:
    file, shown = tmp_path / "companies.csv", StringIO()
    file.write_bytes(b"name,stage\nAcme,Seed\nJoe\x92s,Seed\n")
    with pytest.raises(CommandError, match=r"\ALine 3: byte 24 is not UTF-8"):
        call_command("import_companies", str(file), "--fund", str(fund.pk), stderr=shown)
    for encoding, text in (
        ("cp1252", "Joe\u2019s,Seed"),
        ("mac_roman", "Joe\u00eds,Seed"),
        ("latin-1", "Joe\\x92s,Seed"),
    ):
        assert re.search(rf"{encoding}\W.*{re.escape(text)}", shown.getvalue()), encoding
    assert not PortfolioCompany.objects.exists()
