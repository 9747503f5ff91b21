"""Page objects of the inbox of spellings and of what follows it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

from django.test import Client

from tests.pages import Node, Page

SPELLINGS = "/admin/ops/spellings/"
DRAFT = f"{SPELLINGS}draft/"
PREVIEW = f"{SPELLINGS}preview/"
IMPORT = f"{SPELLINGS}import/"
EXPORT = f"{SPELLINGS}export/"
CHANGE = f"{SPELLINGS}change/"
RETIRE = f"{SPELLINGS}retire/"
UNDO = f"{SPELLINGS}undo/"
HISTORY = f"{SPELLINGS}history/"
PACKS = f"{SPELLINGS}packs/"


@dataclass
class UnitNode:
    """A unit in the list."""

    node: Node

    @property
    def code(self) -> str:
        """What the unit is called in a form."""
        fields = self.node.all("input", type="hidden")
        return next(each for each in fields if "unit-" in each.attribute("name")).attribute(
            "value"
        )

    @property
    def name(self) -> str:
        """The spelling after which it is named."""
        return self.node.all("bdi", css="raw")[0].text

    @property
    def weight(self) -> str:
        """Its rows, requests and spellings in words."""
        return self.node.one("div", css="weight").text

    @property
    def choice(self) -> str:
        """The chosen verdict, "" for none."""
        chosen = [
            each for each in self.node.all("input", type="radio") if "checked" in each.attributes
        ]
        return chosen[0].attribute("value") if chosen else ""

    @property
    def flag(self) -> str:
        """The sentence against the choice."""
        return self.node.one("p", css="flag").text

    @property
    def members(self) -> dict[str, bool]:
        """The listed members, and whether each is ticked."""
        boxes = self.node.all("input", name="kept")
        return {box.attribute("value"): "checked" in box.attributes for box in boxes}


class SpellingsPage(Page):
    """The inbox, and its form as a browser without scripts would send it."""

    @classmethod
    def open(cls, client: Client, query: str = "") -> Self:
        """Open the inbox."""
        return cls(client.get(SPELLINGS + query))

    @property
    def units(self) -> list[UnitNode]:
        """The units in the list."""
        return [UnitNode(node) for node in self.all("li", css="group")]

    def unit(self, code: str) -> UnitNode:
        """Return the unit with this code."""
        return next(unit for unit in self.units if unit.code == code)

    @property
    def tabs(self) -> dict[str, str]:
        """The number of each tab."""
        nav = self.one("nav", css="tabs")
        return {
            " ".join(link.text.split()[:-1]): link.one("span", css="n").text
            for link in nav.all("a")
        }

    def form(self) -> InboxForm:
        """Return the form with what it holds."""
        return InboxForm.of(self.all("form")[-1])


@dataclass
class InboxForm:
    """The fields that a browser would send."""

    fields: list[tuple[str, str]] = field(default_factory=list)

    @classmethod
    def of(cls, node: Node) -> InboxForm:
        """Read the fields of a form: hidden ones, texts, selected options and what is ticked."""
        fields: list[tuple[str, str]] = []
        for each in node.all("input"):
            ticked = (
                each.attribute("type") not in ("radio", "checkbox") or "checked" in each.attributes
            )
            if ticked and each.attribute("name"):
                fields.append((each.attribute("name"), each.attribute("value")))
        for each in node.all("select"):
            chosen = [one for one in each.all("option") if "selected" in one.attributes]
            fields += [(each.attribute("name"), one.attribute("value")) for one in chosen]
        for each in node.all("textarea"):
            fields.append((each.attribute("name"), each.text))
        return cls(fields)

    def choose(self, code: str, choice: str) -> InboxForm:
        """Choose a verdict for a unit."""
        number = next(name for name, value in self.fields if value == code and "unit-" in name)[5:]
        self.fields = [each for each in self.fields if each[0] != f"choice-{number}"]
        self.fields.append((f"choice-{number}", choice))
        return self

    def untick(self, spelling: str) -> InboxForm:
        """Leave a member out."""
        self.fields.remove(("kept", spelling))
        return self

    def write(self, **texts: str) -> InboxForm:
        """Set fields."""
        self.fields = [each for each in self.fields if each[0] not in texts] + list(texts.items())
        return self

    def send(self, client: Client, address: str = DRAFT, **texts: str) -> Any:
        """Send the form, and return the page that follows."""
        data: dict[str, list[str]] = {}
        for name, value in [*self.write(**texts).fields]:
            data.setdefault(name, []).append(value)
        return client.post(address, data, follow=True)
