"""`/admin/ops/spellings/`: choosing in the inbox, the draft, and the preview that saves it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from normalization import decisions, rollout_store
from normalization.decision_file import DecisionRow
from normalization.decision_warnings import DecisionVerdict
from normalization.models import DecisionBatch, StageDecision
from normalization.rollout import Mode, Rollout, with_mode
from normalization.stages import Stage
from ops.pages.spellings.drafts import Draft, read_draft
from ops.pages.spellings.models import DecisionDraft
from ops.pages.spellings.preview import DecisionPreview
from ops.pages.spellings.weights import count
from tests.observed import break_table, counted, saw
from tests.pages import Page
from tests.spelling_pages import (
    CHANGE,
    DRAFT,
    EXPORT,
    IMPORT,
    PACKS,
    PREVIEW,
    RETIRE,
    SPELLINGS,
    InboxForm,
    SpellingsPage,
)
from tests.spelling_rows import decide, stored

pytestmark = pytest.mark.django_db


@pytest.fixture
def inbox() -> None:
    """A few units of each kind."""
    stored({"1st Round": 5, "2nd Round": 3, "Grant": 4, "seed": 10})
    stored({"Early Stage VC (Series A)": 2, "4. Early Stage VC (Series A)": 1})
    saw("Seires A", 6, client="deal-flow")
    saw("Grant", 2, client="importer")
    counted("unknown", 8)
    counted("canonical", 12)


def with_mode_of(mode: Mode) -> Callable[[Rollout], Rollout]:
    return lambda rollout: with_mode(rollout, mode)


def in_force() -> dict[str, str]:
    found = StageDecision.objects.filter(superseded_at__isnull=True)
    return {each.spelling: each.stage or each.verdict for each in found}


def preview_form(client: Client) -> InboxForm:
    return InboxForm.of(Page.get(client, PREVIEW).one("form", css="two"))


# -- The list -----------------------------------------------------------------


def test_units_are_listed_heaviest_first_with_rows_and_requests(
    operator: Client, inbox: None
) -> None:
    page = SpellingsPage.open(operator)
    assert [(unit.name, unit.weight) for unit in page.units] == [
        ("Seires A", "0 rows · 6 requests · 1 spelling Looks like series-a."),
        ("1st Round", "8 rows · 0 requests · 2 spellings Usually outside."),
        ("Grant", "4 rows · 2 requests · 1 spelling Usually outside."),
        ("Early Stage VC (Series A)", "3 rows · 0 requests · 2 spellings Usually series-a."),
    ]
    assert page.tabs == {
        "Undecided": "6",
        "Left open": "0",
        "Decided": "0",
        "Outside": "0",
        "Newly covered": "0",
        "History, undo": "0",
    }
    assert page.faults() == []


def test_the_goal_counts_all_rows_and_requests(operator: Client, inbox: None) -> None:
    goal = SpellingsPage.open(operator).one("section", css="goal").text
    assert "Stored rows: 60.00 % undecided." in goal
    assert "Requests of 7 days: 40.00 % undecided." in goal


def test_the_goal_shows_what_the_choices_settle(operator: Client, inbox: None) -> None:
    form = SpellingsPage.open(operator).form()
    form.choose("numbered", "outside").choose("grant", "outside").send(operator)
    goal = SpellingsPage.open(operator).one("section", css="goal").text
    assert "Your 2 choices settle 80.0 % of the undecided rows." in goal
    assert "Stored rows: 60.00 % undecided, 12.00 % after these decisions." in goal


def test_every_spelling_decided_is_said(operator: Client) -> None:
    stored({"seed": 1})
    assert "Every spelling is decided." in SpellingsPage.open(operator).text


@pytest.mark.parametrize(
    "query",
    ["?q=%00", "?page=0", "?page=x", "?order=x", "?show=x", "?at=nothing", f"?q={'x' * 300}"],
)
def test_parameters_that_make_no_sense_count_as_absent(
    operator: Client, inbox: None, query: str
) -> None:
    SpellingsPage.open(operator, query)


def test_hostile_spellings_are_shown_as_text(operator: Client) -> None:
    stored({"<img src=x onerror=alert(1)>": 1, "a\tb\n": 1, "\u202eevil": 1})
    page = SpellingsPage.open(operator)
    assert page.faults() == []
    assert {unit.name for unit in page.units} == {
        "<img src=x onerror=alert(1)>",
        "a tab b new line",
        "U+202E evil",
    }


def test_the_panel_shows_members_and_clients_of_the_chosen_unit(
    operator: Client, inbox: None
) -> None:
    page = SpellingsPage.open(operator, "?at=%3Dseires%20a")
    panel = page.one("aside").text
    assert "Requests, 7 days 6" in panel
    assert "deal-flow 6" in panel
    assert page.unit("=seires a").members == {"Seires A": True}


def test_the_panel_shows_similar_spellings_that_are_settled(operator: Client, inbox: None) -> None:
    stored({"Series A": 3, "3rd Round": 2})
    decide("3rd Round")
    count()
    panel = SpellingsPage.open(operator, "?at=%3Dseires%20a").one("aside").text
    assert "Similar, decided before Series A → series-a, built in" in panel
    panel = SpellingsPage.open(operator, "?at=numbered").one("aside").text
    assert "Similar, decided before 3rd Round → outside" in panel
    assert "Similar" not in SpellingsPage.open(operator, "?at=grant").one("aside").text


# -- The draft ----------------------------------------------------------------


def test_a_choice_survives_a_reload_and_another_browser(operator: Client, inbox: None) -> None:
    SpellingsPage.open(operator).form().choose("grant", "outside").send(operator, reason="why")
    other = Client()
    other.force_login(User.objects.get(username="ann"))
    page = SpellingsPage.open(other)
    assert page.unit("grant").choice == "outside"
    assert ("reason", "why") in page.form().fields


def test_another_operator_has_another_draft(operator: Client, inbox: None) -> None:
    SpellingsPage.open(operator).form().choose("grant", "outside").send(operator)
    other = Client()
    other.force_login(User.objects.create_superuser("bea"))
    assert SpellingsPage.open(other).unit("grant").choice == ""


def test_a_form_sent_after_the_session_has_ended_keeps_its_choices(
    operator: Client, inbox: None
) -> None:
    form = SpellingsPage.open(operator).form().choose("grant", "outside")
    operator.logout()
    answer = form.send(operator, go="preview")
    assert answer.redirect_chain[0][0] == PREVIEW
    assert "/admin/login/" in answer.redirect_chain[1][0]
    operator.force_login(User.objects.get(username="ann"))
    assert SpellingsPage.open(operator).unit("grant").choice == "outside"


@pytest.mark.parametrize("token", ["", "nonsense", "MQ:1tabcd:abcdefghij"])
def test_without_a_session_the_draft_needs_its_token(client: Client, token: str) -> None:
    answer = client.post(DRAFT, {"unit-0": "grant", "choice-0": "outside", "token": token})
    assert answer.status_code == 403
    assert not DecisionDraft.objects.exists()


def test_an_old_token_reaches_no_draft(
    operator: Client, inbox: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    form = SpellingsPage.open(operator).form().choose("grant", "outside")
    operator.logout()
    monkeypatch.setattr("ops.pages.spellings.drafts.TOKEN_AGE", timedelta(seconds=-1))
    assert form.send(operator).status_code == 403


def test_a_user_who_is_not_staff_has_no_draft(client: Client) -> None:
    client.force_login(User.objects.create_user("eve"))
    assert client.post(DRAFT, {"unit-0": "grant", "choice-0": "outside"}).status_code == 403


def test_a_single_choice_is_saved_at_once_and_answered_with_what_speaks_against_it(
    operator: Client, inbox: None
) -> None:
    SpellingsPage.open(operator)
    data = {"unit-0": "deal-type-series-a", "choice-0": "series-b"}
    answer = operator.post(DRAFT, data, headers={"accept": "application/json"})
    state = json.loads(answer.content)
    assert "Your 1 choice settles" in state.pop("goal")
    assert state == {
        "chosen": 1,
        "sentence": "1 to a stage",
        "flag": "The text says Series A. You chose series-b. This holds for 2 of 2 spellings.",
    }
    unit = SpellingsPage.open(operator).unit("deal-type-series-a")
    assert (unit.choice, unit.flag[:24]) == ("series-b", "The text says Series A. ")


def test_a_choice_can_be_cleared_and_the_draft_discarded(operator: Client, inbox: None) -> None:
    form = SpellingsPage.open(operator).form()
    form.choose("grant", "outside").choose("numbered", "open").send(operator)
    SpellingsPage.open(operator).form().send(operator, go="clear:grant")
    page = SpellingsPage.open(operator)
    assert (page.unit("grant").choice, page.unit("numbered").choice) == ("", "open")
    page.form().send(operator, go="discard")
    assert SpellingsPage.open(operator).unit("numbered").choice == ""


def test_a_form_of_another_page_takes_no_choice_away(operator: Client, inbox: None) -> None:
    SpellingsPage.open(operator).form().choose("grant", "outside").send(operator)
    SpellingsPage.open(operator, "?q=round").form().choose("numbered", "outside").send(operator)
    page = SpellingsPage.open(operator)
    assert (page.unit("grant").choice, page.unit("numbered").choice) == ("outside", "outside")


def test_unticked_members_stay_unticked_when_another_unit_is_opened(
    operator: Client, inbox: None
) -> None:
    form = SpellingsPage.open(operator, "?at=numbered").form()
    form.choose("numbered", "outside").untick("2nd Round").send(operator, go="open:grant")
    SpellingsPage.open(operator).form().send(operator)
    page = SpellingsPage.open(operator, "?at=numbered")
    assert page.unit("numbered").members == {"1st Round": True, "2nd Round": False}
    assert "1 left out of 2 spellings" in page.unit("numbered").weight


def test_search_keeps_what_was_chosen(operator: Client, inbox: None) -> None:
    form = SpellingsPage.open(operator).form().choose("grant", "outside")
    answer = form.send(operator, go="search", q="deal-flow")
    assert [unit.name for unit in SpellingsPage(answer).units] == ["Seires A"]
    assert SpellingsPage.open(operator).unit("grant").choice == "outside"


# -- Preview and save ---------------------------------------------------------


def test_a_preview_saves_nothing_and_shows_rows_requests_and_clients(
    operator: Client, inbox: None
) -> None:
    form = SpellingsPage.open(operator).form()
    form.choose("=seires a", "series-a").choose("grant", "outside").choose("numbered", "outside")
    answer = form.send(operator, go="preview", reason="because")
    page = Page(answer)
    assert page.one("h1").text == "Preview: 4 decisions"
    chosen, clients = page.all("table")
    assert chosen.cells() == [
        ["1st Round Rounds or series counted in numbers", "2", "outside", "8", "0"],
        ["Grant Grant or accelerator", "1", "outside", "4", "2"],
        ["Seires A", "1", "series-a", "0", "6"],
    ]
    assert [row[:5] for row in clients.cells()] == [
        ["importer", "+ 0", "0", "2", "0"],
        ["deal-flow", "+ 6", "0", "0", "0"],
    ]
    assert in_force() == {}


def test_saving_writes_listed_spellings_in_one_batch(operator: Client, inbox: None) -> None:
    form = SpellingsPage.open(operator, "?at=numbered").form()
    form.choose("numbered", "outside").untick("2nd Round").choose("=seires a", "series-a")
    form.send(operator, go="preview")
    answer = preview_form(operator).send(operator, PREVIEW, reason="a typing error")
    assert "2 decisions saved as batch" in Page(answer).text
    assert in_force() == {"1st Round": "outside", "Seires A": "series-a"}
    batch = DecisionBatch.objects.get()
    assert (batch.author, batch.source, batch.reason) == ("ann", "admin", "a typing error")
    assert not DecisionDraft.objects.exists()
    assert {unit.code for unit in SpellingsPage.open(operator).units} == {
        "numbered",
        "grant",
        "deal-type-series-a",
    }


def test_a_hard_warning_is_confirmed_for_each_spelling(operator: Client, inbox: None) -> None:
    form = SpellingsPage.open(operator).form().choose("deal-type-series-a", "series-b")
    page = Page(form.send(operator, go="preview"))
    assert "2 decisions contradict their own text" in page.text
    answer = preview_form(operator).send(operator, PREVIEW, reason="so")
    assert answer.status_code == 409
    assert "2 decisions still to be confirmed" in answer.content.decode()
    assert in_force() == {}
    form = preview_form(operator)
    form.fields.append(("confirm", "early stage vc (series a)"))
    assert form.send(operator, PREVIEW, reason="so").status_code == 409
    form.fields.append(("confirm", "4. early stage vc (series a)"))
    assert form.send(operator, PREVIEW, reason="so").status_code == 200
    assert set(in_force().values()) == {"series-b"}


def test_a_change_of_many_rows_that_mean_a_stage_is_confirmed(
    operator: Client, inbox: None
) -> None:
    decide("Grant", verdict=DecisionVerdict.STAGE)
    data = {"spelling": "Grant", "choice": "outside", "kind": "", "note": ""}
    sentence = "4 of 25 rows of portfolio_companies, fund"
    assert sentence in Page(operator.post(CHANGE, data, follow=True)).text
    answer = preview_form(operator).send(operator, PREVIEW, reason="so")
    assert answer.status_code == 409
    assert "Confirm that many stored rows lose the stage" in answer.content.decode()
    assert in_force() == {"Grant": "seed"}
    form = preview_form(operator)
    form.fields.append(("confirm_effects", "on"))
    form.send(operator, PREVIEW, reason="so")
    assert in_force() == {"Grant": "outside"}


def test_what_changed_since_the_preview_is_not_saved(operator: Client, inbox: None) -> None:
    SpellingsPage.open(operator).form().choose("numbered", "outside").send(operator, go="preview")
    form = preview_form(operator)
    stored({"3rd Round": 1})
    saw("3rd Round")
    SpellingsPage.open(operator)
    answer = form.send(operator, PREVIEW, reason="so")
    assert answer.status_code == 409
    assert "changed since you looked" in answer.content.decode()
    assert in_force() == {}
    assert preview_form(operator).send(operator, PREVIEW, reason="so").status_code == 200
    assert len(in_force()) == 3


def test_a_reason_is_required_and_what_was_typed_stays(operator: Client, inbox: None) -> None:
    SpellingsPage.open(operator).form().choose("grant", "outside").send(operator, go="preview")
    answer = preview_form(operator).send(operator, PREVIEW, reason=" ")
    assert "Give a reason" in answer.content.decode()
    assert in_force() == {}


def test_who_may_not_decide_may_look_but_not_save(client: Client, inbox: None) -> None:
    user = User.objects.create_user("vic", is_staff=True)
    client.force_login(user)
    SpellingsPage.open(client).form().choose("grant", "outside").send(client, go="preview")
    page = Page.get(client, PREVIEW)
    assert "Your account may not decide spellings." in page.text
    assert preview_form(client).send(client, PREVIEW, reason="so").status_code == 403
    user.user_permissions.add(Permission.objects.get(codename="add_stagedecision"))
    assert preview_form(client).send(client, PREVIEW, reason="so").status_code == 200
    assert in_force() == {"Grant": "outside"}


def test_an_empty_preview_says_so(operator: Client) -> None:
    assert "Nothing is chosen." in Page.get(operator, PREVIEW).text


# -- The other tabs -----------------------------------------------------------


def test_decisions_are_listed_and_one_can_be_changed_in_a_single_step(
    operator: Client, inbox: None
) -> None:
    decide("Grant")
    page = SpellingsPage.open(operator, "?show=outside")
    assert [row[:4] for row in page.cells()] == [["Grant", "outside", "4", "2"]]
    data = {"spelling": "Grant", "choice": "seed", "kind": "", "note": ""}
    preview = Page(operator.post(CHANGE, data, follow=True))
    assert "0 new, 1 changed, 0 in force already." in preview.text
    form = preview_form(operator)
    form.fields.append(("confirm", "grant"))
    form.send(operator, PREVIEW, reason="our fund counts it")
    assert in_force() == {"Grant": "seed"}


def test_new_spellings_of_a_decided_group_take_one_action(operator: Client, inbox: None) -> None:
    form = SpellingsPage.open(operator, "?at=numbered").form()
    form.choose("numbered", "outside").untick("2nd Round").send(operator, go="preview")
    preview_form(operator).send(operator, PREVIEW, reason="counts")
    assert SpellingsPage.open(operator).tabs["Newly covered"] == "0"
    saw("7th round", 3)
    page = SpellingsPage.open(operator, "?show=covered")
    assert page.tabs["Newly covered"] == "1"
    InboxForm.of(page.one("form", css="card")).send(operator, go="cover:numbered")
    preview_form(operator).send(operator, PREVIEW, reason="covered")
    assert in_force() == {"1st Round": "outside", "7th round": "outside"}


def test_retiring_shows_whom_it_hurts_and_asks_once_more_where_enforced(
    operator: Client, inbox: None
) -> None:
    row = DecisionRow("Seires A", DecisionVerdict.STAGE, Stage.SERIES_A, source="test")
    decisions.apply(decisions.plan([row]), author="ann", source=DecisionBatch.Source.ADMIN)
    decision = StageDecision.objects.get()
    address = f"{RETIRE}?id={decision.pk}"
    page = Page.get(operator, RETIRE, id=str(decision.pk))
    assert page.cells()[0][:2] == ["deal-flow", "6"]
    assert "would be refused" not in page.text
    for mode in (Mode.WARN, Mode.ENFORCE):
        rollout_store.change(with_mode_of(mode), actor="ann", source="admin", reason="test")
    page = Page.get(operator, RETIRE, id=str(decision.pk))
    assert "1 request a day would be refused" in page.text
    assert operator.post(address, {"reason": "wrong"}).status_code == 409
    assert operator.post(address, {"confirm": str(decision.pk), "reason": " "}).status_code == 409
    assert in_force() == {"Seires A": "series-a"}
    operator.post(address, {"confirm": str(decision.pk), "reason": "wrong"})
    assert in_force() == {}


def test_a_decision_that_is_not_in_force_cannot_be_retired(operator: Client) -> None:
    for given in ("", "x", "0", "99999999999999999999"):
        assert operator.get(RETIRE, {"id": given}).status_code == 404


def test_a_spelling_that_was_left_open_can_be_decided_in_its_tab(
    operator: Client, inbox: None
) -> None:
    decide("Grant", verdict=DecisionVerdict.OPEN)
    form = SpellingsPage.open(operator, "?show=open").form()
    form.choose("left open:grant", "outside").send(operator, go="preview")
    preview_form(operator).send(operator, PREVIEW, reason="looked again")
    assert in_force() == {"Grant": "outside"}


def test_one_click_takes_the_stage_that_the_text_names(operator: Client, inbox: None) -> None:
    form = SpellingsPage.open(operator).form().choose("deal-type-series-a", "series-b")
    page = SpellingsPage(form.send(operator, go="open:deal-type-series-a"))
    button = next(each for each in page.all("button") if "Change to" in each.text)
    page.form().send(operator, go=button.attribute("value"))
    assert SpellingsPage.open(operator).unit("deal-type-series-a").choice == "series-a"


def test_the_head_of_the_page_counts_what_is_undecided_and_so_does_the_start_page(
    operator: Client, inbox: None
) -> None:
    nav = SpellingsPage.open(operator).one("nav", css="cnav")
    assert nav.one("span", css="count").text == "6 undecided"
    assert nav.one("span", css="badge").text == "Observe"
    assert "6 undecided 60.0 % of stored rows" in Page.get(operator, "/admin/").text


# -- Starter packs ------------------------------------------------------------


def test_a_pack_is_recognized_by_its_spellings_and_offered_but_not_applied(
    operator: Client, inbox: None
) -> None:
    offer = SpellingsPage.open(operator).one("div", css="offer").text
    assert "The starter pack pitchbook settles 93.3 % of the undecided rows" in offer
    assert "It has 100 % of the undecided spellings of importer ." in offer
    packs = {row[0].split()[0]: row[1:] for row in Page.get(operator, PACKS).cells()}
    assert packs["common-outside"][2] == "12 · 80.0 %"
    assert "importer 100 %" in packs["common-outside"][4]
    assert in_force() == {}
    assert not DecisionDraft.objects.exists()


def test_a_pack_settles_what_is_undecided_and_leaves_other_decisions_as_they_are(
    operator: Client, inbox: None
) -> None:
    decide("Grant", verdict=DecisionVerdict.STAGE)
    form = SpellingsPage.open(operator).form()
    form.choose("deal-type-series-a", "outside").send(operator)
    answer = operator.post(f"{PACKS}?name=pitchbook", follow=True)
    assert "pitchbook Starter pack" in Page(answer).text
    assert SpellingsPage.open(operator).units  # the draft has the pack and the choice
    form = preview_form(operator)
    form.fields += [("confirm", "early stage vc (series a)")]
    form.fields += [("confirm", "4. early stage vc (series a)")]
    form.send(operator, PREVIEW, reason="their words")
    decided = in_force()
    assert decided["Grant"] == "seed"
    assert decided["Early Stage VC (Series A)"] == "outside"
    assert decided["Early Stage VC (Series B)"] == "series-b"
    assert decided["1st Round"] == "outside"


def test_rows_that_a_pack_leaves_to_the_operator_need_a_choice(
    operator: Client, inbox: None
) -> None:
    stored({"Series A1": 3})
    count()
    page = Page.get(operator, PACKS, name="pitchbook")
    choices = {each.attribute("aria-label"): each for each in page.all("select")}
    name = choices["Meaning of Series A1"].attribute("name")
    operator.post(f"{PACKS}?name=pitchbook", {name: ""})
    assert "Series A1" not in {row.spelling for row in DecisionPreview(_draft()).rows}
    operator.post(f"{PACKS}?name=pitchbook", {name: "outside"})
    rows = {row.spelling: row.verdict for row in DecisionPreview(_draft()).rows}
    assert rows["Series A1"] is DecisionVerdict.OUTSIDE


@pytest.mark.parametrize("name", ["none", "../pitchbook", "\0"])
def test_an_unknown_pack_is_not_found(operator: Client, name: str) -> None:
    assert operator.get(PACKS, {"name": name}).status_code == 404


def _draft() -> Draft:
    return read_draft(User.objects.get(username="ann").pk)


# -- Files --------------------------------------------------------------------


def test_an_export_is_a_file_that_can_be_imported(operator: Client, inbox: None) -> None:
    decide("Grant", "1st Round")
    data = operator.get(EXPORT).content
    decisions.undo(DecisionBatch.objects.get().pk, author="ann", source=DecisionBatch.Source.ADMIN)
    answer = operator.post(IMPORT, {"file": upload(data)}, follow=True)
    assert "2 new, 0 changed" in Page(answer).text
    preview_form(operator).send(operator, PREVIEW, reason="again")
    assert in_force() == {"Grant": "outside", "1st Round": "outside"}


def test_a_file_is_refused_with_every_reason(operator: Client) -> None:
    data = b"spelling,verdict\nGrant,maybe\nSeed,outside\n"
    answer = operator.post(IMPORT, {"file": upload(data)})
    assert answer.status_code == 400
    assert "line 2: unknown verdict" in answer.content.decode()
    assert "line 3:" in answer.content.decode()
    assert not DecisionDraft.objects.exists()


def upload(data: bytes) -> SimpleUploadedFile:
    return SimpleUploadedFile("decisions.csv", data, "text/csv")


# -- Faults -------------------------------------------------------------------


@pytest.mark.parametrize("address", [SPELLINGS, PREVIEW, PACKS, EXPORT])
def test_a_database_that_does_not_answer_is_said(operator: Client, address: str) -> None:
    break_table("normalization_stagedecision" if address == EXPORT else "ops_decisiondraft")
    assert operator.get(address).status_code == 503


def test_a_part_that_fails_does_not_break_the_page(operator: Client, inbox: None) -> None:
    SpellingsPage.open(operator)
    break_table("normalization_outcometally")
    assert len(SpellingsPage.open(operator).units) == 4
