"""Page objects for the backups in the admin: the list, the page of one backup, and the checks."""

from __future__ import annotations

from typing import ClassVar

from django.test import Client
from django.urls import reverse

from ops.backups.models import Backup
from tests.pages import Node, Page

LIST = "admin:ops_backup_changelist"
CHECKS = "admin:ops_backupcheck_changelist"


class LedgerPage(Page):
    """A list of the admin, and the figures above it."""

    columns: ClassVar[tuple[str, ...]] = ()

    @property
    def facts(self) -> dict[str, str]:
        """The figures of the summary by their names; {} without a summary."""
        return _facts(self)

    @property
    def rows(self) -> list[dict[str, str]]:
        """The text of each line, by column."""
        tables = self.all("table", id="result_list")
        lines = tables[0].cells() if tables else []
        return [dict(zip(self.columns, line, strict=True)) for line in lines]

    @property
    def commands(self) -> list[str]:
        """The commands that the page advises."""
        return [code.text for code in self.all("code", css="command")]

    def links_to(self, backup: Backup) -> bool:
        """Whether the list leads to the page of a backup."""
        address = reverse("admin:ops_backup_change", args=[backup.pk])
        return any(link.attribute("href").startswith(address) for link in self.all("a"))


class BackupsPage(LedgerPage):
    """The list of backups."""

    columns = ("taken", "state", "verified", "restored", "size", "place")

    @classmethod
    def open(cls, client: Client, **query: str) -> BackupsPage:
        """Open the list."""
        return cls(client.get(reverse(LIST), query))

    @property
    def gate(self) -> str:
        """The badge of the gate."""
        return self.facts["Backup gate (backfill, more enforcement)"]

    @property
    def verdict(self) -> str:
        """The sentence of the gate, and how long it stays open."""
        return self.facts["Verdict of the gate"]

    @property
    def restore_time(self) -> str:
        """The measured restore time."""
        return self.facts["Expected restore time (RTO)"]

    @property
    def next_step(self) -> str:
        """The command that opens the gate, "" if it is open."""
        return " ".join(step.text for step in self.all("p", css="next"))


class ChecksPage(LedgerPage):
    """The list of checks."""

    columns = ("when", "kind", "verdict", "reason", "backup", "took", "by", "host")

    @classmethod
    def open(cls, client: Client) -> ChecksPage:
        """Open the list."""
        return cls(client.get(reverse(CHECKS)))


class BackupPage(Page):
    """The page of one backup."""

    @classmethod
    def open(cls, client: Client, backup: Backup) -> BackupPage:
        """Open the page of `backup`."""
        return cls(client.get(reverse("admin:ops_backup_change", args=[backup.pk])))

    @property
    def state(self) -> str:
        """The badge with the state."""
        return self._panel.one("span", css="badge").text

    @property
    def sentence(self) -> str:
        """The reason for the state."""
        return self._panel.one("p", css="reason").text

    @property
    def remedy(self) -> str:
        """The command that may change the state, "" if there is none."""
        return " ".join(step.text for step in self._panel.all("p", css="next"))

    @property
    def facts(self) -> dict[str, str]:
        """The facts of the backup by their names."""
        return _facts(self)

    @property
    def checks(self) -> list[list[str]]:
        """The cells of each check: when, kind, verdict, reason, duration, by."""
        return self.one("section", **{"aria-labelledby": "h-checks"}).cells()

    @property
    def offered_checks(self) -> list[str]:
        """The commands that check the backup again."""
        sections = self.all("section", **{"aria-labelledby": "h-again"})
        return [code.text for section in sections for code in section.all("code", css="command")]

    @property
    def _panel(self) -> Node:
        return self.one("div", css="panel")


def _facts(page: Page) -> dict[str, str]:
    pairs = (
        (entry.all("dt"), entry.all("dd"))
        for facts in page.all("dl", css="facts")
        for entry in facts.all("div")
    )
    return {name[0].text: value[0].text for name, value in pairs}
