"""What a change of the decisions means for stored rows, requests and clients.

Stored rows are found through the `StageField` columns of all models, and requests through the
observed spellings of the last days. Every distinct text is looked up in the tables before and
after, so the figures are what the normalizer will do, not an estimate of it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, NamedTuple

from django.db import connection, models
from django.db.models import Count, F
from django.db.models.functions import Coalesce
from django.utils import timezone

from normalization.columns import fields_of
from normalization.deprecations import status_of
from normalization.fields import StageField
from normalization.observations import OTHER
from normalization.packs import Pack, load_packs
from normalization.stages import Known, SpellingTable, fold, normalize
from stagenorm.terminal import ReportProgress, no_progress

DAYS: Final = 7
"""How many days of requests are counted."""
FUND: Final = "fund"
"""The name of a relation by which stored rows are counted apart, where a model has it."""
CHUNK: Final = 2_000
WITHOUT_STAGE: Final = frozenset(("outside", "undecided"))
"""The meanings without a stage."""

SENT: Final = """
SELECT client, spelling, sum(count)::bigint FROM normalization_observedspelling
WHERE day > %s AND spelling <> %s GROUP BY client, spelling
"""


class StoredText(NamedTuple):
    """Rows of a table that hold one text; `fund` is None where the rows belong to none."""

    table: str
    fund: int | None
    text: str
    rows: int


class SentText(NamedTuple):
    """How often a client sent a text in the last days, as it was observed."""

    client: str
    text: str
    times: int


@dataclass(frozen=True, slots=True, order=True)
class RowsChange:
    """Rows of a table and fund that get another meaning: a stage, `outside` or `undecided`."""

    table: str
    fund: int | None
    before: str
    after: str


@dataclass(slots=True)
class ClientChange:
    """What becomes of a client's stages, counted as it sent them in the last days."""

    accepted: int = 0
    refused: int = 0
    otherwise: int = 0
    refused_texts: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class DecisionEffects:
    """The difference between two spelling tables.

    `rows` counts stored rows. `clients` holds the clients for whom something changes: what mode
    enforce would newly accept or refuse, and what changes otherwise. `fund_rows` counts all rows
    of each table and fund in which rows lose a stage. `merged` counts parents, such as
    strategies, of which rows newly mean one stage.
    """

    rows: Mapping[RowsChange, int]
    clients: Mapping[str, ClientChange]
    fund_rows: Mapping[tuple[str, int | None], int] = field(default_factory=dict)
    merged: int = 0

    @property
    def rows_to_derive(self) -> int:
        """How many stored rows have a stage that a backfill has to derive again."""
        return sum(
            rows
            for each, rows in self.rows.items()
            if not {each.before, each.after} <= WITHOUT_STAGE
        )

    @property
    def accepted(self) -> int:
        """How many of the stages sent in the last days would newly be accepted."""
        return sum(each.accepted for each in self.clients.values())

    @property
    def refused(self) -> int:
        """How many of the stages sent in the last days would newly be refused in enforce."""
        return sum(each.refused for each in self.clients.values())


@dataclass(frozen=True, slots=True)
class UndecidedText:
    """A spelling that is undecided: stored rows, requests and clients of the last days."""

    text: str
    rows: int
    times: int
    clients: tuple[str, ...]

    @property
    def weight(self) -> int:
        """Rows and requests together."""
        return self.rows + self.times


@dataclass(frozen=True, slots=True)
class PackOffer:
    """What a starter pack would settle: stored rows, and shares of clients' undecided spellings.

    A share is a fraction from 0 to 1; a client with none is absent.
    """

    pack: Pack
    rows: int
    undecided_rows: int
    all_rows: int
    clients: Mapping[str, float]


def effects(
    before: SpellingTable,
    after: SpellingTable,
    report: ReportProgress = no_progress,
    texts: Collection[str] | None = None,
) -> DecisionEffects:
    """Return what changes for stored rows and for clients between two tables.

    `texts`: the stored texts to look at, if the caller has all that can change.
    """
    stored = _changed_texts(before, after, stored_texts(report, texts))
    rows: Counter[RowsChange] = Counter()
    for each, change in stored:
        rows[change] += each.rows
    return DecisionEffects(
        rows=dict(sorted(rows.items(), key=lambda each: -each[1])),
        clients=_clients(before, after),
        fund_rows=_fund_rows(change for change in rows if change.before not in WITHOUT_STAGE),
        merged=_merged(before, after, {each.text for each, _ in stored}),
    )


def stored_texts(
    report: ReportProgress = no_progress, texts: Collection[str] | None = None
) -> Iterator[StoredText]:
    """Yield the distinct texts of every column of stages, with their rows, by table and fund.

    Reads each table once. A column with a source is read at its source: the client's own words.
    `texts`: leave out all others.
    """
    wanted = {"raw__isnull": False} if texts is None else {"raw__in": list(texts)}
    columns = list(fields_of(StageField))
    for number, (model, stage) in enumerate(columns):
        table = model._meta.db_table
        report("tables", number, len(columns), note=table)
        fund = _fund_path(model)
        names = ["raw", fund] if fund else ["raw"]
        rows = (
            model._default_manager.annotate(raw=_raw_of(stage))
            .filter(**wanted)
            .values_list(*names)
            .annotate(rows=Count("pk"))
            .order_by()
        )
        for text, *of_fund, count in rows.iterator(chunk_size=CHUNK):
            yield StoredText(table, of_fund[0] if of_fund else None, text, count)
    report("tables", len(columns), len(columns))


def sent_texts() -> list[SentText]:
    """Return what each client sent in the last days that was not canonical.

    Texts are as they were observed: cut at 100 characters, control characters replaced.
    """
    since = (timezone.now() - timedelta(days=DAYS)).date()
    with connection.cursor() as cursor:
        cursor.execute(SENT, [since, OTHER])
        return [SentText(*row) for row in cursor.fetchall()]


def undecided_texts(
    table: SpellingTable, report: ReportProgress = no_progress
) -> list[UndecidedText]:
    """Return the undecided spellings of stored rows and requests, those with most weight first.

    Texts that fold to the same key are one; the most frequent of them stands for all.
    """
    found: dict[str, _Weighed] = defaultdict(_Weighed)
    for stored in stored_texts(report):
        if _is_undecided(stored.text, table):
            found[fold(stored.text)].add_rows(stored)
    for sent in sent_texts():
        if _is_undecided(sent.text, table):
            found[fold(sent.text)].add_sent(sent)
    return sorted(
        (each.total() for each in found.values()), key=lambda each: (-each.weight, each.text)
    )


def pack_offers(table: SpellingTable, report: ReportProgress = no_progress) -> list[PackOffer]:
    """Return what each starter pack would settle, the pack that settles most rows first."""
    stored: Counter[str] = Counter()
    for each in stored_texts(report):
        stored[each.text] += each.rows
    undecided = {text: rows for text, rows in stored.items() if _is_undecided(text, table)}
    sent: dict[str, set[str]] = defaultdict(set)
    for sent_text in sent_texts():
        if _is_undecided(sent_text.text, table):
            sent[sent_text.client].add(fold(sent_text.text))
    offers = [_offer(pack, undecided, stored.total(), sent) for pack in load_packs().values()]
    return sorted(offers, key=lambda offer: (-offer.rows, offer.pack.name))


def _offer(
    pack: Pack, undecided: Mapping[str, int], all_rows: int, sent: Mapping[str, set[str]]
) -> PackOffer:
    keys = {row.key for row in pack.decided}
    shares = {client: len(keys & texts) / len(texts) for client, texts in sent.items()}
    return PackOffer(
        pack=pack,
        rows=sum(rows for text, rows in undecided.items() if fold(text) in keys),
        undecided_rows=sum(undecided.values()),
        all_rows=all_rows,
        clients={client: share for client, share in sorted(shares.items()) if share},
    )


class _Weighed:
    """The texts of one key, and what they weigh."""

    def __init__(self) -> None:
        self.texts: Counter[str] = Counter()
        self.clients: set[str] = set()
        self.rows = self.times = 0

    def add_rows(self, stored: StoredText) -> None:
        self.rows += stored.rows
        self.texts[stored.text] += stored.rows

    def add_sent(self, sent: SentText) -> None:
        self.times += sent.times
        self.clients.add(sent.client)
        self.texts[sent.text] += sent.times

    def total(self) -> UndecidedText:
        [(text, _)] = self.texts.most_common(1)
        return UndecidedText(text, self.rows, self.times, tuple(sorted(self.clients)))


def _changed_texts(
    before: SpellingTable, after: SpellingTable, texts: Iterable[StoredText]
) -> list[tuple[StoredText, RowsChange]]:
    """Return the stored texts that mean something else in the second table, with the change."""
    found = []
    for each in texts:
        was, becomes = _meaning(each.text, before), _meaning(each.text, after)
        if was != becomes:
            found.append((each, RowsChange(each.table, each.fund, was, becomes)))
    return found


def _fund_rows(changes: Iterable[RowsChange]) -> dict[tuple[str, int | None], int]:
    """Return how many rows with a text each table and fund of the changes has."""
    funds: dict[str, set[int | None]] = defaultdict(set)
    for change in changes:
        funds[change.table].add(change.fund)
    found: dict[tuple[str, int | None], int] = {}
    for model, stage in fields_of(StageField):
        table, path = model._meta.db_table, _fund_path(model)
        rows = model._default_manager.annotate(raw=_raw_of(stage)).filter(raw__isnull=False)
        for fund in funds.get(table, ()):
            in_fund = rows.filter(**{path: fund}) if path else rows
            found[table, fund] = found.get((table, fund), 0) + in_fund.count()
    return found


def _merged(before: SpellingTable, after: SpellingTable, texts: Collection[str]) -> int:
    """Return of how many parents rows with different texts newly mean one stage."""
    merged = 0
    for model, stage in fields_of(StageField):
        parent = _fund_path(model).rpartition("__")[0]
        if not parent or not texts:
            continue
        rows = model._default_manager.annotate(raw=_raw_of(stage))
        touched = rows.filter(raw__in=list(texts)).values(parent)
        found: dict[int, list[str]] = defaultdict(list)
        for key, text in rows.filter(**{f"{parent}__in": touched}).values_list(parent, "raw"):
            found[key].append(text)
        merged += sum(_shared(each, after) > _shared(each, before) for each in found.values())
    return merged


def _shared(texts: Iterable[str], table: SpellingTable) -> int:
    """Return how many of the texts mean a stage that another one means as well."""
    meanings = [_meaning(text, table) for text in texts]
    stages = [each for each in meanings if each not in WITHOUT_STAGE]
    return len(stages) - len(set(stages))


def _clients(before: SpellingTable, after: SpellingTable) -> dict[str, ClientChange]:
    found: dict[str, ClientChange] = defaultdict(ClientChange)
    for sent in sent_texts():
        was, becomes = _meaning(sent.text, before), _meaning(sent.text, after)
        if was == becomes:
            continue
        of_client = found[sent.client]
        refused_before = _status(sent.text, before) != "known"
        refused_after = _status(sent.text, after) != "known"
        if refused_before and not refused_after:
            of_client.accepted += sent.times
        elif refused_after and not refused_before:
            of_client.refused += sent.times
            of_client.refused_texts.append(sent.text)
        else:
            of_client.otherwise += sent.times
    return dict(found)


def _meaning(text: str, table: SpellingTable) -> str:
    """Return the stage's value, `outside` or `undecided`."""
    found = normalize(text, table)
    return found.stage.value if isinstance(found, Known) else status_of(found)


def _is_undecided(text: str, table: SpellingTable) -> bool:
    return _status(text, table) == "undecided"


def _status(text: str, table: SpellingTable) -> str:
    return status_of(normalize(text, table))


def _raw_of(stage: Any) -> Any:
    """Return the expression for the text that a stage comes from."""
    source = stage.source
    if source is None:
        return F(stage.name)
    return Coalesce(F(source), F(stage.name), output_field=models.CharField())


def _fund_path(model: type[models.Model]) -> str:
    """Return the path from a model to the id of its fund: its own, or its parent's; or ""."""
    relations = [each for each in model._meta.local_fields if each.many_to_one]
    if any(each.name == FUND for each in relations):
        return f"{FUND}_id"
    for each in relations:
        parent = each.related_model
        if isinstance(parent, type) and any(
            other.name == FUND and other.many_to_one for other in parent._meta.local_fields
        ):
            return f"{each.name}__{FUND}_id"
    return ""
