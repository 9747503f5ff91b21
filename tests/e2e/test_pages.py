"""The pages work in a browser under the strict content-security policy."""

import re
import shutil
from collections.abc import Callable, Iterator

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.utils import timezone
from selenium import webdriver
from selenium.common.exceptions import JavascriptException, StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from normalization import rollout_store
from normalization.models import ObservedSpelling, OutcomeTally, RolloutChange, StageDecision
from normalization.rollout import Mode
from tests.servers import Service

pytestmark = [pytest.mark.e2e, pytest.mark.django_db(transaction=True)]
LONG_NAMED = "importer-" + "y" * 60
PAGES = (
    "/admin/", "/admin/ops/rollout/?window=24h", "/admin/ops/rollout/?pilot=importer", "/admin/ops/rollout/clients/",
    f"/admin/ops/rollout/clients/client/?name={LONG_NAMED}", "/admin/ops/rollout/clients/client/?name=importer",
    "/admin/ops/rollout/",
)  # fmt: skip
HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture
def browser() -> Iterator[webdriver.Chrome]:
    """A headless Chromium whose console can be read."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--window-size=1280,1000",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()


@pytest.fixture
def service(granian_server: Callable[..., Service]) -> Service:
    """The service with its static files, as in production."""
    call_command("collectstatic", interactive=False, verbosity=0)
    return granian_server(workers=1)


def wait(browser: webdriver.Chrome) -> WebDriverWait[webdriver.Chrome]:
    """Waits for a condition of the page; where the page changes in the middle of a look, it looks again."""
    return WebDriverWait(
        browser, 60, ignored_exceptions=[StaleElementReferenceException, JavascriptException]
    )


def complaints(browser: webdriver.Chrome) -> list[str]:
    """What the browser's console holds against the page; that there is no favicon does not count."""
    log = browser.get_log("browser")  # type: ignore[no-untyped-call]
    entries = [entry for entry in log if entry["level"] in {"WARNING", "SEVERE"}]
    return [entry["message"] for entry in entries if "/favicon.ico" not in entry["message"]]


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


def test_an_operator_signs_in_and_breaks_no_policy(
    browser: webdriver.Chrome, service: Service
) -> None:
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
    """A rollout in enforce, requests of every outcome, and a spelling that would do harm as markup."""
    for mode in (Mode.WARN, Mode.ENFORCE):
        rollout_store.change(mode, actor="ann", source="tests", reason="All were told " * 20)
    now = timezone.now()
    for outcome, requests in (
        ("canonical", 20_000),
        ("normalized", 300),
        ("unknown", 40),
        ("rejected", 1),
    ):
        OutcomeTally.objects.create(
            minute=now.replace(second=0, microsecond=0), endpoint="fund-companies", client="importer", mode="warn",
            outcome=outcome, requests=requests,
        )  # fmt: skip
    OutcomeTally.objects.create(
        minute=now,
        endpoint="portfolio-strategies",
        client=LONG_NAMED,
        mode="warn",
        outcome="unknown",
        requests=6,
    )
    for raw in (HOSTILE, "x" * 100, "Seires A"):
        ObservedSpelling.objects.create(
            day=now.date(), spelling=raw, stage="", endpoint="portfolio-strategies", client=LONG_NAMED,
            count=2, first_seen=now, last_seen=now,
        )  # fmt: skip


def test_an_operator_changes_the_rollout_in_a_browser_and_breaks_no_policy(
    operator: webdriver.Chrome, service: Service
) -> None:
    operator.get(f"{service.address}/admin/ops/rollout/")
    operator.find_element(By.CSS_SELECTOR, "[name=mode][value=warn]").click()
    operator.find_element(By.NAME, "reason").send_keys("The clients were told")
    operator.find_element(By.CSS_SELECTOR, "#change [type=submit]").click()
    wait(operator).until(lambda page: page.find_elements(By.CSS_SELECTOR, ".status .mode-warn"))
    assert "The clients were told" in operator.find_element(By.CSS_SELECTOR, ".rollout-facts").text
    assert complaints(operator) == []


def test_back_to_warn_is_one_click_that_asks_no_gate(
    much_to_see: None,
    granian_server: Callable[..., Service],
    service: Service,
    operator: webdriver.Chrome,
) -> None:
    gated = granian_server(
        workers=1, env={"STAGE_GATES": "1"}
    )  # sessions are in the database, so one login is enough
    operator.get(f"{gated.address}/admin/ops/rollout/")
    assert "STAGE_GATES is 0" not in operator.find_element(By.ID, "gates").text
    assert operator.find_elements(By.CSS_SELECTOR, "#gates .gate-fail")  # and one would hold it
    operator.find_element(By.XPATH, "//button[text()='Back to warn']").click()
    wait(operator).until(lambda page: page.find_elements(By.CSS_SELECTOR, ".status .mode-warn"))
    row = RolloutChange.objects.latest("id")
    assert (row.previous_mode, row.mode, row.actor, row.evidence) == (
        "enforce",
        "warn",
        "operator",
        {},
    )
    assert not operator.find_elements(By.CSS_SELECTOR, ".back")
    assert complaints(operator) == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_operator_s_pages_break_no_policy_and_fit_a_small_screen(
    much_to_see: None, service: Service, operator: webdriver.Chrome, theme: str
) -> None:
    operator.execute_script("localStorage.setItem('theme', arguments[0])", theme)
    for width in (1280, 420):
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        operator.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        for address in PAGES:
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
    operator.get(f"{service.address}/admin/ops/rollout/")
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
