"""An operator settles the real vocabulary in the inbox, in a browser, with few actions."""

from __future__ import annotations

import csv
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from django.utils import timezone
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from normalization.models import DecisionBatch, ObservedSpelling, OutcomeTally
from normalization.stages import Known, normalize
from ops.pages.spellings import weights
from ops.pages.spellings.inbox import read_shares
from ops.pages.spellings.models import SpellingCount
from stagenorm.portfolio.models import Fund
from tests.browser import complaints, wait
from tests.pages import HOME
from tests.servers import ROOT, Service

pytestmark = [pytest.mark.e2e, pytest.mark.django_db(transaction=True)]

ROWS = 300_000
CLIENTS = ("data-lake-importer", "crm-sync", "deal-flow", "deal-desk", "lp-portal")
MOST_ACTIONS = 60
VERDICT_KEYS = {
    "pre-seed": "1",
    "seed": "2",
    "series-a": "3",
    "series-b": "4",
    "series-c": "5",
    "series-c+": "6",
    "outside": "0",
}

COMPANIES = """
INSERT INTO portfolio_companies (fund_id, name, stage, status, sector, created_at, updated_at)
SELECT %s, 'company ' || number, spelling, 'active', '', now(), now()
FROM unnest(%s::text[], %s::int[]) AS given (spelling, rows), generate_series(1, rows) AS number
"""


@pytest.fixture
def real_vocabulary() -> None:
    """300,000 rows with the frequencies of the public vocabulary, and a week of five clients."""
    with (ROOT / "tests/data/stage_vocabulary.csv").open(newline="", encoding="utf-8") as file:
        counts = {record["raw"]: int(record["count"]) for record in csv.DictReader(file)}
    every = sum(counts.values())
    rows = [max(1, round(ROWS * count / every)) for count in counts.values()]
    fund = Fund.objects.create(name="Data lake")
    with connection.cursor() as cursor:
        cursor.execute(COMPANIES, [fund.pk, list(counts), rows])
    frequent = [spelling for spelling, count in counts.items() if count > every / 20_000]
    for number, client in enumerate(CLIENTS, start=1):
        _send(client, frequent, counts, every * number)


def _send(client: str, frequent: list[str], counts: dict[str, int], whole: int) -> None:
    now = timezone.now()
    sent = {spelling: 1 + counts[spelling] * 10_000 // whole for spelling in frequent}
    stages = {spelling: _stage(spelling) for spelling in frequent}
    ObservedSpelling.objects.bulk_create(
        ObservedSpelling(
            day=now.date(),
            spelling=spelling,
            stage=stages[spelling],
            endpoint="fund-companies",
            client=client,
            count=count,
            first_seen=now - timedelta(hours=1),
            last_seen=now,
        )
        for spelling, count in sent.items()
    )
    known = sum(count for spelling, count in sent.items() if stages[spelling])
    unknown = sum(sent.values()) - known
    OutcomeTally.objects.bulk_create(
        OutcomeTally(
            minute=now.replace(second=0, microsecond=0),
            endpoint="fund-companies",
            client=client,
            mode="warn",
            outcome=outcome,
            requests=requests,
        )
        for outcome, requests in (("normalized", known), ("unknown", unknown))
    )


def _stage(spelling: str) -> str:
    meaning = normalize(spelling)
    return meaning.stage.value if isinstance(meaning, Known) else ""


class CountingOperator:
    """Clicks and presses keys as a person does, and counts each as one action."""

    def __init__(self, browser: webdriver.Chrome) -> None:
        self.browser = browser
        self.actions = 0

    def click(self, selector: str) -> None:
        """Click the element, and wait for the page that follows."""
        element = self.find(selector)
        page = self.browser.find_element(By.TAG_NAME, "html")
        self.browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()
        self.actions += 1
        self._wait_for_another(page)

    def press(self, key: str) -> None:
        """Press one key."""
        ActionChains(self.browser).send_keys(key).perform()
        self.actions += 1

    def write(self, selector: str, text: str) -> None:
        """Fill in a field: one action, as pasting is."""
        self.find(selector).send_keys(text)
        self.actions += 1

    def find(self, selector: str) -> WebElement:
        """Return the only element, or the first of several."""
        found: WebElement = wait(self.browser).until(
            lambda page: page.find_element(By.CSS_SELECTOR, selector)
        )
        return found

    def save(self, reason: str) -> None:
        """On the preview: confirm what goes against its own text, give a reason and save."""
        for box in self.browser.find_elements(By.NAME, "confirm"):
            box.click()
            self.actions += 1
        self.write("#reason", reason)
        self.click("form.two .btn.primary")
        assert "saved as batch" in self.find(".messagelist .success").text

    def wait_for_choices(self, count: int) -> None:
        """Wait until the draft has this many choices."""
        selector = (By.CSS_SELECTOR, "[data-chosen]")
        wait(self.browser).until(lambda page: int(page.find_element(*selector).text) == count)

    def _wait_for_another(self, page: WebElement) -> None:
        wait(self.browser).until(
            lambda browser: (
                browser.find_element(By.TAG_NAME, "html") != page
                and browser.execute_script("return document.readyState") == "complete"
            )
        )


@pytest.fixture
def operator(
    real_vocabulary: None, browser: webdriver.Chrome, granian_server: Callable[..., Service]
) -> CountingOperator:
    """An operator who has signed in and looks at the start page."""
    call_command("collectstatic", interactive=False, verbosity=0)
    weights.count()
    service = granian_server(workers=1)
    User.objects.create_superuser("operator", password="a-long-password")
    browser.get(f"{service.address}/admin/login/?next={HOME}")
    browser.find_element(By.NAME, "username").send_keys("operator")
    browser.find_element(By.NAME, "password").send_keys("a-long-password", Keys.ENTER)
    wait(browser).until(lambda page: page.find_elements(By.ID, "user-tools"))
    return CountingOperator(browser)


def test_the_real_vocabulary_is_settled_within_sixty_actions(operator: CountingOperator) -> None:
    operator.click("#state a[href$='/ops/spellings/']")
    while operator.browser.find_elements(By.CSS_SELECTOR, ".offer a.btn"):
        operator.click(".offer a.btn")
        operator.click("form.two .btn.primary")
        operator.save("Their own enumeration")
    decide_by_keys(operator)
    page = operator.browser.find_element(By.TAG_NAME, "html")
    operator.press("p")
    operator._wait_for_another(page)
    operator.save("As the groups usually are; series D and later stay outside")
    assert operator.find(".goal.reached").is_displayed()
    assert complaints(operator.browser) == []
    assert operator.actions <= MOST_ACTIONS
    weights.ensure_fresh(timezone.now())
    shares = read_shares(SpellingCount.objects.get())
    every = sum(share.rows for share in shares.values())
    undecided = sum(share.rows for verdict, share in shares.items() if verdict in ("", "open"))
    print(f"\n{operator.actions} actions, {DecisionBatch.objects.count()} batches")
    for verdict, share in sorted(shares.items()):
        name = verdict or "undecided"
        print(f"{name:>10} {100 * share.rows / every:6.2f} % of rows, {share.spellings} spellings")
    assert undecided < 0.005 * every


def decide_by_keys(operator: CountingOperator) -> None:
    """Choose what each group usually is, the heaviest first, until the limit is reached."""
    browser = operator.browser
    for group in browser.find_elements(By.CSS_SELECTOR, ".group"):
        if browser.find_elements(By.CSS_SELECTOR, ".goal.reached"):
            return
        hints = [hint.text for hint in group.find_elements(By.CSS_SELECTOR, ".hint")]
        verdict = hints[0].split()[-1].strip(".") if hints else "outside"
        before = int(browser.find_element(By.CSS_SELECTOR, "[data-chosen]").text)
        operator.press("j")
        operator.press(VERDICT_KEYS.get(verdict, VERDICT_KEYS["outside"]))
        operator.wait_for_choices(before + 1)
