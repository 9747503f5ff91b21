"""Page objects: the operator's pages as tests read them, with a name for each part.

`Page` parses an answer with Django's HTML parser, which refuses end tags without a start. The
classes for single pages add named members. Text is read as a person sees it: without tags, and
with every run of white space as one space.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

from django.test import Client
from django.test.html import Element, parse_html

HOME = "/admin/"
ROLLOUT = "/admin/ops/rollout/"
BACK_TO_WARN = f"{ROLLOUT}back-to-warn/"
CLIENTS = f"{ROLLOUT}clients/"
CLIENT = f"{CLIENTS}client/"
LETTER = f"{CLIENTS}letter/"
PUBLIC_LETTER = "/letter"
INCIDENTS = "/admin/ops/incidents/"


class Node:
    """An element of a page."""

    def __init__(self, element: Element) -> None:
        self.element = element
        self.attributes = dict(element.attributes)

    @property
    def name(self) -> str | None:
        """The tag's name."""
        return self.element.name

    @property
    def classes(self) -> list[str]:
        """The classes of the element."""
        return (self.attributes.get("class") or "").split()

    @property
    def text(self) -> str:
        """The text of the element and of all elements in it."""
        return " ".join(" ".join(self._pieces()).split())

    def attribute(self, name: str) -> str:
        """Return an attribute, "" if it is absent or has no value."""
        return self.attributes.get(name) or ""

    def all(self, tag: str = "", css: str = "", **attributes: str) -> list[Node]:
        """Return the elements below with this tag, class and attributes, in their order."""
        return [node for node in self._below() if node._is(tag, css, attributes)]

    def one(self, tag: str = "", css: str = "", **attributes: str) -> Node:
        """Return the only such element. Raises AssertionError if there is none, or several."""
        found = self.all(tag, css, **attributes)
        assert len(found) == 1, f"{len(found)} × {tag or 'element'} {css} {attributes}"
        return found[0]

    def has(self, tag: str = "", css: str = "", **attributes: str) -> bool:
        """Return whether there is such an element."""
        return bool(self.all(tag, css, **attributes))

    def cells(self) -> list[list[str]]:
        """Return the text of each cell of the table bodies below, row by row."""
        rows = (row for body in self.all("tbody") for row in body.all("tr"))
        return [[cell.text for cell in row._below() if cell.name in ("th", "td")] for row in rows]

    def _is(self, tag: str, css: str, attributes: dict[str, str]) -> bool:
        return (
            (not tag or self.name == tag)
            and (not css or css in self.classes)
            and all(self.attributes.get(name) == value for name, value in attributes.items())
        )

    def _below(self) -> Iterator[Node]:
        for child in self.element.children:
            if not isinstance(child, str):
                node = Node(child)
                yield node
                yield from node._below()

    def _pieces(self) -> Iterator[str]:
        for child in self.element.children:
            if isinstance(child, str):
                yield child
            else:
                yield from Node(child)._pieces()


class Page(Node):
    """A whole page."""

    def __init__(self, answer: Any) -> None:
        assert answer.status_code == 200, answer.status_code
        self.answer = answer
        self.markup = answer.content.decode()
        super().__init__(parse_html(self.markup))

    @classmethod
    def get(cls, client: Client, address: str, **query: str) -> Self:
        """Open `address` as `client`."""
        return cls(client.get(address, query or None))

    def section(self, name: str) -> Node:
        """Return the section with this id."""
        return self.one("section", id=name)

    @property
    def figures(self) -> Counter[str]:
        """The table below the chart, its rows added up: requests by outcome, and `all`."""
        table = self.one("details", css="figures")
        outcomes = [heading.text for heading in table.one("thead").all("th", css="number")]
        added: Counter[str] = Counter()
        for row in table.cells():
            added.update(dict(zip(outcomes, map(int, row[1:]), strict=True)))
        return +added

    @property
    def decide_links(self) -> list[str]:
        """The addresses of the links to the form of decisions, with a spelling filled in."""
        links = [link.attribute("href") for link in self.all("a")]
        return [link for link in links if "stagedecision/add/?" in link]

    def faults(self) -> list[str]:
        """Return what is wrong with the structure, or forbidden by the security policy."""
        faults = [
            f"<{node.name}> {name}"
            for node in self._below()
            for name in node.attributes
            if name == "style" or name.startswith("on")
        ]
        faults += ["<style>" for _ in self.all("style")]
        faults += [
            "<script> without src" for each in self.all("script") if not each.attribute("src")
        ]
        return [*faults, *self._heading_faults(), *self._repeated_ids()]

    def _heading_faults(self) -> Iterator[str]:
        levels = [
            int(node.name[1])
            for node in self._below()
            if node.name and len(node.name) == 2 and node.name[0] == "h" and node.name[1].isdigit()
        ]
        if levels[0] != 1:
            yield f"the first heading has level {levels[0]}"
        for before, after in pairwise(levels):
            if after > before + 1:
                yield f"a heading of level {after} follows one of level {before}"

    def _repeated_ids(self) -> list[str]:
        ids = Counter(node.attribute("id") for node in self._below() if node.attribute("id"))
        return [f"id {name} {times} times" for name, times in ids.items() if times > 1]


@dataclass(frozen=True)
class HomeState:
    """A row of the state on the start page."""

    tone: str
    url: str
    word: str
    detail: str


class HomePage(Page):
    """The start page of the console."""

    @classmethod
    def open(cls, client: Client) -> Self:
        """Open the page as `client`."""
        return cls(client.get(HOME))

    @property
    def heading(self) -> str:
        """The sentence at the head."""
        return self.one("h1").text

    @property
    def matters(self) -> list[str]:
        """What needs the operator: tone, title and text of each notice."""
        return [f"{' '.join(each.classes)}: {each.text}" for each in self.all("div", css="notice")]

    @property
    def steps(self) -> list[str]:
        """The steps of the line: the state, the name and the note of each."""
        steps = self.one("ol", css="line").all("li")
        return [" ".join([*each.classes, *each.text.split()]) for each in steps]

    @property
    def next_step(self) -> Node:
        """The card of the next step."""
        return self.one("section", css="next-card")

    @property
    def held(self) -> list[str]:
        """The checks that hold the next step."""
        return [each.text for each in self.next_step.all("li", css="hold")]

    @property
    def prepares(self) -> list[str]:
        """The checks of later steps that can be made ready now."""
        return [each.text for each in self.all("li", css="todo") if "Not ready" in each.text]

    @property
    def offers_back_to_warn(self) -> bool:
        """Whether the page has the button that takes enforcement back."""
        return bool(self.all("button", css="back"))

    @property
    def state(self) -> dict[str, HomeState]:
        """The rows of the state by their label, in their order."""
        rows = self.one("ul", id="state").all("li")
        return {row.one("a").text: _state(row) for row in rows}


def _state(row: Node) -> HomeState:
    tones = [name.removeprefix("tone-") for name in row.classes if name.startswith("tone-")]
    return HomeState(
        tone=tones[0],
        url=row.one("a").attribute("href"),
        word=row.one("span", css="word").text,
        detail=row.one("span", css="state-note").text,
    )


class StatusPage(Page):
    """A page with facts at its head: terms with their value and note."""

    @property
    def facts(self) -> dict[str, str]:
        """The value and note of each term."""
        boxes = self.one("dl", css="rollout-facts").all("div")
        return {box.one("dt").text: box.one("dd").text for box in boxes}

    @property
    def meaning(self) -> str:
        """The sentence at the head."""
        return self.one("p", css="status-meaning").text


class RolloutPage(StatusPage):
    """`/admin/ops/rollout/`."""

    @classmethod
    def open(cls, client: Client, query: str = "") -> Self:
        """Open the page as `client`. `query` begins with a question mark."""
        return cls(client.get(ROLLOUT + query))

    @property
    def mode(self) -> str:
        """The mode of the badge at the head, whose word it is."""
        badge = self.one("p", css="status-head").one("span", css="badge")
        (mode,) = (name.removeprefix("mode-") for name in badge.classes if name != "badge")
        words = {"off": "Observe", "warn": "Warn", "enforce": "Enforce"}
        assert badge.text.split()[0] == words[mode]
        return mode

    @property
    def gates(self) -> list[str]:
        """Each gate: its outcome, title, sentence and remedy."""
        return [gate.text for gate in self.section("gates").all("li", css="gate")]

    @property
    def column_totals(self) -> list[int]:
        """The requests that the title of each column of the chart has."""
        titles = [column.one("title").text for column in self.all("g", css="column")]
        return [int(title.split(" UTC: ")[1].split()[0]) for title in titles]

    @property
    def unknown(self) -> list[list[str]]:
        """The rows of unknown spellings."""
        return self.section("unknown").cells()

    @property
    def history(self) -> list[list[str]]:
        """The rows of the history, newest first."""
        return self.section("history").cells()

    @property
    def effects(self) -> str:
        """What the change would do, "" if none is shown."""
        return " ".join(each.text for each in self.all("div", css="effects"))

    @property
    def refusal(self) -> str:
        """Why nothing was changed, "" if nothing was refused."""
        return " ".join(each.text for each in self.all(css="refused"))

    @property
    def changed(self) -> str:
        """The change that the page was opened after, "" without one."""
        return " ".join(each.text for each in self.all("section", id="changed"))

    @property
    def next_step(self) -> Node:
        """The card of the next step, with its form."""
        return self.one("section", id="next")

    @property
    def clients(self) -> dict[str, list[str]]:
        """What the next step would do to each client: enters at, requests, refused, because of."""
        return {row[0]: row[1:] for row in self.one("table", css="stacked").cells()}

    @property
    def proposal(self) -> str:
        """The note about a form that a link filled in, "" without one."""
        return " ".join(each.text for each in self.all("p", css="proposed"))

    @property
    def back_reason(self) -> str:
        """The reason that "Back to warn" has filled in."""
        return self.one("form", css="back").one("input", name="reason").attribute("value")

    @property
    def offers_back_to_warn(self) -> bool:
        """Whether enforcement can be taken back here."""
        return self.has("form", css="back")

    @property
    def may_change(self) -> bool:
        """Whether the form is shown."""
        return self.has("section", id="change")

    @property
    def override_is_open(self) -> bool:
        """Whether the part that skips checks is open."""
        return "open" in self.one("details", css="danger").attributes

    def form_value(self, name: str) -> str:
        """Return what the form has in a field: the text, or the chosen button's value."""
        for field in self.section("change").all(name=name):
            if field.name == "textarea":
                return field.text
            if field.attribute("type") != "radio" or "checked" in field.attributes:
                return field.attribute("value")
        raise AssertionError(f"The form has no field {name}.")


class ClientsPage(Page):
    """`/admin/ops/rollout/clients/`."""

    @classmethod
    def open(cls, client: Client, query: str = "") -> Self:
        """Open the page as `client`. `query` begins with a question mark."""
        return cls(client.get(CLIENTS + query))

    @property
    def rows(self) -> list[list[str]]:
        """The cells of each client: name, six figures, status, last seen."""
        return [row for table in self.all("table", css="clients") for row in table.cells()]

    @property
    def names(self) -> list[str]:
        """The names of the clients, in their order."""
        return [row[0].split(" no request")[0] for row in self.rows]

    @property
    def statuses(self) -> dict[str, str]:
        """How each client is enforced."""
        return {row[0]: row[7] for row in self.rows}

    @property
    def kinds(self) -> dict[str, int]:
        """How many clients of each kind there are: {"All": 3, …}."""
        links = self.one("ul", css="kinds").all("a")
        tallies = {link: link.one("span", css="tally").text for link in links}
        return {
            link.text.removesuffix(tally).strip(): int(tally.replace(",", ""))
            for link, tally in tallies.items()
        }

    @property
    def answer_text(self) -> str:
        """The sentence at the head."""
        return self.one("p", css="answer").text

    @property
    def next_query(self) -> str:
        """The query of the next page, "" on the last."""
        links = self.all("a", rel="next")
        return "?" + links[0].attribute("href").partition("?")[2] if links else ""

    @property
    def client_links(self) -> list[str]:
        """The addresses of the clients' pages."""
        rows = self.one("table", css="clients").one("tbody").all("th")
        return [row.one("a").attribute("href") for row in rows]


class ClientPage(StatusPage):
    """`/admin/ops/rollout/clients/client/?name=…`."""

    @classmethod
    def open(cls, client: Client, name: str = "importer", **query: str) -> Self:
        """Open the page of the client `name`."""
        return cls(client.get(CLIENT, {"name": name, **query}))

    def table(self, section: str) -> list[list[str]]:
        """Return the rows of a section's table."""
        return self.section(section).cells()

    @property
    def proposals(self) -> dict[str, str]:
        """The addresses of the proposals, by their text."""
        return {
            link.text: link.attribute("href")
            for box in self.all("p", css="propose")
            for link in box.all("a")
        }

    @property
    def consequence(self) -> str:
        """What enforcement would do to the client."""
        (found,) = [
            text for term, text in self.facts.items() if term.startswith("What enforcement")
        ]
        return found


class IncidentPage(Page):
    """`/admin/ops/incidents/VERSION/`."""

    @classmethod
    def open(cls, client: Client, version: int) -> Self:
        """Open the page as `client`."""
        return cls(client.get(f"{INCIDENTS}{version}/"))

    @property
    def heading(self) -> str:
        """What happened, with the day."""
        return self.one("h1").text

    @property
    def safety(self) -> str:
        """Whether it is safe now, and why."""
        return self.one("div", id="safety").text

    @property
    def tiles(self) -> dict[str, str]:
        """The figures at the head, each with its note."""
        tiles = self.all("div", css="tile")
        return {tile.one("dt").text: tile.one("dd").text for tile in tiles}

    @property
    def entries(self) -> list[str]:
        """The entries of the timeline, oldest first."""
        return [entry.text for entry in self.one("ol", css="timeline").all("li")]

    @property
    def actions(self) -> list[str]:
        """What to do next, the suggested action first."""
        return [each.text for each in self.all("ol", css="todo-list")[0].all("li")]

    @property
    def clients(self) -> list[list[str]]:
        """The rows of the hurt clients."""
        return self.section("hurt").cells()

    @property
    def spellings(self) -> list[list[str]]:
        """The rows of their spellings."""
        return self.section("spellings").cells()

    @property
    def summary(self) -> str:
        """The text for the chat."""
        return self.one("pre", id="chat").text
