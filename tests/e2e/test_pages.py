"""The pages work in a browser under the strict content-security policy."""

import re
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from selenium import webdriver
from selenium.webdriver.common.by import By

from normalization import rollout_store
from normalization.models import RolloutChange, StageDecision
from normalization.rollout import Mode
from ops.pages.letters.links import signed_link
from tests.browser import complaints, wait
from tests.incidents import Sent, guard_acts
from tests.observed import counted, saw
from tests.pages import CLIENT, CLIENTS, HOME, INCIDENTS, LETTER, ROLLOUT
from tests.servers import Service
from tests.spelling_pages import HISTORY, PACKS, PREVIEW, SPELLINGS

pytestmark = [pytest.mark.e2e, pytest.mark.django_db(transaction=True)]
LONG_NAMED = "importer-" + "y" * 60
PAGES = (
    HOME,
    f"{ROLLOUT}?window=24h",
    f"{ROLLOUT}?pilot=importer",
    CLIENTS,
    f"{CLIENT}?name={LONG_NAMED}",
    f"{CLIENT}?name=importer",
    SPELLINGS,
    f"{SPELLINGS}?at=%3Dseires%20a",
    PREVIEW,
    PACKS,
    f"{PACKS}?name=pitchbook",
    HISTORY,
    INCIDENTS,
    f"{LETTER}?name={LONG_NAMED}",
    ROLLOUT,
)
HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture
def service(granian_server: Callable[..., Service]) -> Service:
    """The service with its static files, as in production."""
    call_command("collectstatic", interactive=False, verbosity=0)
    return granian_server(workers=1)


def test_the_api_documentation_shows_the_operations_and_breaks_no_policy(
    browser: webdriver.Chrome, service: Service
) -> None:
    browser.get(f"{service.address}/api/docs")
    paths = {
        "/api/monte-carlo/simulate",
        "/api/portfolio/strategies",
        "/api/funds/{fund_id}/companies",
    }

    def shown(page: webdriver.Chrome) -> bool:
        found = page.find_elements(By.CSS_SELECTOR, ".opblock-summary-path")
        return paths <= {re.sub(r"[\u200b\s]", "", path.text) for path in found}

    wait(browser).until(shown, "the operations")
    assert complaints(browser) == []


def test_signing_in_breaks_no_policy(browser: webdriver.Chrome, service: Service) -> None:
    User.objects.create_superuser("operator", password="a-long-password")
    browser.get(f"{service.address}/admin/")
    browser.find_element(By.NAME, "username").send_keys("operator")
    browser.find_element(By.NAME, "password").send_keys("a-long-password")
    browser.find_element(By.CSS_SELECTOR, "[type=submit]").click()
    wait(browser).until(lambda page: page.find_elements(By.ID, "user-tools"))
    assert "operator" in browser.find_element(By.ID, "user-tools").text.lower()
    assert complaints(browser) == []


@pytest.fixture
def operator(browser: webdriver.Chrome, service: Service) -> webdriver.Chrome:
    """A browser in which the operator has signed in."""
    User.objects.create_superuser("operator", password="a-long-password")
    browser.get(f"{service.address}/admin/login/")
    browser.find_element(By.NAME, "username").send_keys("operator")
    browser.find_element(By.NAME, "password").send_keys("a-long-password")
    browser.find_element(By.CSS_SELECTOR, "[type=submit]").click()
    wait(browser).until(lambda page: page.find_elements(By.ID, "user-tools"))
    return browser


@pytest.fixture
def much_to_see() -> None:
    """Add a rollout in enforce, requests of every outcome, and a spelling with markup."""
    for mode in (Mode.WARN, Mode.ENFORCE):
        rollout_store.change(mode, actor="ann", source="tests", reason="All were told " * 20)
    for outcome, requests in (
        ("canonical", 20_000),
        ("normalized", 300),
        ("unknown", 40),
        ("rejected", 1),
    ):
        counted(outcome, requests)
    counted("unknown", 6, client=LONG_NAMED, endpoint="portfolio-strategies")
    for raw in (HOSTILE, "x" * 100, "Seires A"):
        saw(raw, 2, client=LONG_NAMED)


def test_an_operator_changes_the_rollout_in_a_browser_and_breaks_no_policy(
    operator: webdriver.Chrome, service: Service
) -> None:
    operator.get(f"{service.address}{ROLLOUT}")
    operator.find_element(By.CSS_SELECTOR, "#change summary").click()
    operator.find_element(By.CSS_SELECTOR, "[name=mode][value=warn]").click()
    reason = operator.find_element(By.CSS_SELECTOR, "#change [name=reason]")
    reason.send_keys("The clients were told")
    operator.find_element(By.CSS_SELECTOR, "#change [type=submit]").click()
    wait(operator).until(lambda page: page.find_elements(By.CSS_SELECTOR, ".lede .mode-warn"))
    assert "The clients were told" in operator.find_element(By.CSS_SELECTOR, ".rollout-facts").text
    assert complaints(operator) == []


def test_back_to_warn_is_one_click_that_asks_no_gate(
    much_to_see: None,
    granian_server: Callable[..., Service],
    service: Service,
    operator: webdriver.Chrome,
) -> None:
    # Sessions are in the database, so one login is enough.
    gated = granian_server(workers=1, env={"STAGE_GATES": "1"})
    operator.get(f"{gated.address}{ROLLOUT}")
    assert "STAGE_GATES is 0" not in operator.find_element(By.ID, "gates").text
    assert operator.find_elements(
        By.CSS_SELECTOR, "#gates .gate-fail"
    )  # so a gate would hold a change
    operator.find_element(By.CSS_SELECTOR, "button.back").click()
    wait(operator).until(lambda page: page.find_elements(By.CSS_SELECTOR, ".lede .mode-warn"))
    row = RolloutChange.objects.latest("id")
    assert (row.previous_mode, row.mode, row.actor, row.evidence) == (
        "enforce",
        "warn",
        "operator",
        {},
    )
    assert not operator.find_elements(By.CSS_SELECTOR, "form.back")
    assert complaints(operator) == []


@pytest.fixture
def an_incident(much_to_see: None) -> str:
    """The address of an incident: the guard has held out a client with a long name."""
    version = guard_acts({LONG_NAMED: Sent(0, 6), "others": Sent(500, 0)})
    return f"{INCIDENTS}{version}/"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_operator_s_pages_break_no_policy_and_fit_a_small_screen(
    an_incident: str, service: Service, operator: webdriver.Chrome, theme: str
) -> None:
    operator.execute_script("localStorage.setItem('theme', arguments[0])", theme)
    for width in (1440, 390):
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        operator.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        letter = urlsplit(signed_link(LONG_NAMED))
        for address in (an_incident, f"{letter.path}?{letter.query}", *PAGES):
            operator.get(f"{service.address}{address}")
            assert (
                operator.execute_script("return document.documentElement.scrollWidth") <= width
            ), (address, width)
            assert complaints(operator) == [], address
    bars = operator.find_elements(By.CSS_SELECTOR, ".chart .column .segment")
    drawn = [(bar.value_of_css_property("fill"), bar.size["height"]) for bar in bars]
    assert len({fill for fill, _ in drawn}) == 4
    assert all(height >= 1 for _, height in drawn)


def test_a_spelling_with_markup_is_text_and_becomes_an_alias_by_hand(
    much_to_see: None, service: Service, operator: webdriver.Chrome
) -> None:
    operator.get(f"{service.address}{ROLLOUT}")
    shown = [each.text for each in operator.find_elements(By.CSS_SELECTOR, "#unknown .raw")]
    assert HOSTILE in shown
    operator.find_element(By.CSS_SELECTOR, "#unknown a[href*='spelling=Seires']").click()
    wait(operator).until(lambda page: page.find_elements(By.NAME, "spelling"))
    assert operator.find_element(By.NAME, "spelling").get_attribute("value") == "Seires A"
    operator.find_element(By.NAME, "reason").send_keys("A typing mistake of theirs")
    operator.find_element(By.NAME, "_save").click()
    wait(operator).until(lambda page: page.find_elements(By.CSS_SELECTOR, ".messagelist .success"))
    assert StageDecision.objects.values_list("spelling", "stage").get() == ("Seires A", "series-a")
    assert complaints(operator) == []
