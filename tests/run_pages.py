"""Page objects for the backfill in the admin: the runs, the page of one run, and the log."""

from __future__ import annotations

from typing import ClassVar
from urllib.parse import parse_qsl, urlsplit

from django.test import Client
from django.urls import reverse

from ops.backfill.models import BackfillRun, NormalizationLog
from tests.pages import Node, Page

RUNS = "admin:ops_backfillrun_changelist"
RUN = "admin:ops_backfillrun_change"
STEER = "admin:ops_backfillrun_steer"
LOG = "admin:ops_normalizationlog_changelist"
ENTRY = "admin:ops_normalizationlog_change"


def steer_address(run: BackfillRun, action: str) -> str:
    """Return the address of an action on a run."""
    return reverse(STEER, args=[run.pk, action])


class BackfillPage(Page):
    """What the pages of runs and of the log share."""

    @property
    def refreshes(self) -> bool:
        """Whether the page refreshes itself."""
        return any("data-refresh" in node.attributes for node in self.all("div"))

    @property
    def commands(self) -> list[str]:
        """The commands that the page advises."""
        return [code.text for code in self.all("code", css="command")]

    @property
    def messages(self) -> list[str]:
        """The messages above the page."""
        return [
            item.text for found in self.all("ul", css="messagelist") for item in found.all("li")
        ]

    @property
    def hidden_characters(self) -> list[str]:
        """The names of invisible characters that the page shows."""
        return [node.text for node in self.all("span", css="unseen")]

    def actions_on(self, run: BackfillRun) -> set[str]:
        """Return the actions that the page offers on a run."""
        forms = [form.attribute("action") for form in self.all("form")]
        buttons = [button.attribute("formaction") for button in self.all("button")]
        start = steer_address(run, "x").removesuffix("x/")
        addresses = [each for each in forms + buttons if each.startswith(start)]
        return {each.rstrip("/").rpartition("/")[2] for each in addresses}


class RunsPage(BackfillPage):
    """The list of runs."""

    columns: ClassVar[tuple[str, ...]] = ("run", "state", "scanned", "written", "unknown", "by")

    @classmethod
    def open(cls, client: Client) -> RunsPage:
        """Open the list."""
        return cls(client.get(reverse(RUNS)))

    @property
    def rows(self) -> list[dict[str, str]]:
        """The text of each line by column, without the buttons."""
        lines = self.one("table", id="result_list").cells()
        return [dict(zip(self.columns, line, strict=False)) for line in lines]


class RunPage(BackfillPage):
    """The page of one run."""

    @classmethod
    def open(cls, client: Client, run: BackfillRun) -> RunPage:
        """Open the page of `run`."""
        return cls(client.get(reverse(RUN, args=[run.pk])))

    @classmethod
    def after(cls, client: Client, run: BackfillRun, action: str, **given: str) -> RunPage:
        """Press the button of an action; returns the page that follows."""
        return cls(client.post(steer_address(run, action), given, follow=True))

    @property
    def state(self) -> str:
        """The badge of the state, without its sign."""
        badge = self.one("div", id="live-state").all("span", css="badge")[0]
        return badge.text.removeprefix(badge.one("span", css="badge-sign").text).strip()

    @property
    def undone_by(self) -> list[str]:
        """The links to the runs that undo this one."""
        return [link.text for link in self.one("div", id="live-state").all("a")]

    @property
    def progress(self) -> str:
        """The rows scanned, the rate and the time left."""
        return self.one("div", css="wide-progress").text

    @property
    def waits(self) -> str:
        """What the run waits for, "" if it does not."""
        return " ".join(each.text for each in self.all("p", css="waits"))

    @property
    def failure(self) -> str:
        """Why the run failed, "" if it did not."""
        return " ".join(each.text for each in self.all("pre"))

    @property
    def next_step(self) -> str:
        """What to do next, with the command."""
        return self.one("p", css="next").text

    @property
    def facts(self) -> dict[str, str]:
        """The figures by their names."""
        boxes = self.one("dl", css="facts").all("div")
        return {box.one("dt").text: box.one("dd").text for box in boxes}

    @property
    def tables(self) -> list[list[str]]:
        """Each column's line: name, scanned, written, unknown, skipped, pass, checkpoint."""
        return self._rows("live-tables")

    @property
    def history(self) -> list[list[str]]:
        """Each change of state: when, state, by, reason."""
        return self._rows("live-history")

    @property
    def pairs(self) -> list[list[str]]:
        """Each changed value: stored, becomes, rows written, planned, log."""
        return self._rows("live-pairs")

    @property
    def unknown(self) -> list[list[str]]:
        """Each unknown value: stored, rows, column, suggestions, decide."""
        return self._rows("live-unknown")

    @property
    def decision_links(self) -> list[str]:
        """The addresses of the decision form with a value filled in."""
        return [link.attribute("href") for link in self.all("a") if link.text == "decide"]

    def _rows(self, part: str) -> list[list[str]]:
        return self.one("div", id=part).cells()


class ConfirmPage(BackfillPage):
    """The question before an action."""

    @classmethod
    def followed(cls, client: Client, run: BackfillRun, action: str) -> ConfirmPage:
        """Follow the address of the action."""
        return cls(client.get(steer_address(run, action)))

    @classmethod
    def pressed(cls, client: Client, run: BackfillRun, action: str) -> ConfirmPage:
        """Press the button of the action on another page."""
        return cls(client.post(steer_address(run, action)))

    @property
    def button(self) -> str:
        """The button that carries the action out."""
        return self.one("div", id="content-main").one("button").text


class LogPage(BackfillPage):
    """The list of log entries."""

    @classmethod
    def open(cls, client: Client, **query: str) -> LogPage:
        """Open the list."""
        return cls(client.get(reverse(LOG), query))

    @property
    def stored_values(self) -> list[str]:
        """The value before the write, line by line."""
        tables = self.all("table", id="result_list")
        return [line[1] for line in tables[0].cells()] if tables else []

    @property
    def counted(self) -> int:
        """How many entries the page counts."""
        count: int = self.answer.context["cl"].result_count
        return count


class EntryPage(BackfillPage):
    """One log entry."""

    @classmethod
    def open(cls, client: Client, entry: NormalizationLog) -> EntryPage:
        """Open the page of `entry`."""
        return cls(client.get(reverse(ENTRY, args=[entry.pk])))

    @property
    def keys(self) -> str:
        """The primary keys."""
        return self.one("p", css="ids").text


def query_of(address: str) -> dict[str, str]:
    """Return the query of an address."""
    return dict(parse_qsl(urlsplit(address).query))


def values_of(form: Node) -> dict[str, str]:
    """Return the values that a form opens with, by field."""
    values = {
        field.attribute("name"): field.attribute("value")
        for field in form.all("input")
        if field.attribute("name")
    }
    for select in form.all("select"):
        chosen = [each for each in select.all("option") if "selected" in each.attributes]
        values[select.attribute("name")] = chosen[0].attribute("value") if chosen else ""
    return values
