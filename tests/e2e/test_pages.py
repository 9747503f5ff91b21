"""The pages work in a browser under the strict content-security policy."""

import re
import shutil
from collections.abc import Callable, Iterator

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from tests.servers import Service

pytestmark = [pytest.mark.e2e, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def browser() -> Iterator[webdriver.Chrome]:
    """A headless Chromium whose console can be read."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1280,1000"):
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


def complaints(browser: webdriver.Chrome) -> list[str]:
    """What the browser's console holds against the page; that there is no favicon does not count."""
    log = browser.get_log("browser")  # type: ignore[no-untyped-call]
    entries = [entry for entry in log if entry["level"] in {"WARNING", "SEVERE"}]
    return [entry["message"] for entry in entries if "/favicon.ico" not in entry["message"]]


def test_the_api_documentation_shows_the_operations_and_breaks_no_policy(
    browser: webdriver.Chrome, service: Service
) -> None:
    browser.get(f"{service.address}/api/docs")
    shown = WebDriverWait(browser, 30).until(lambda page: page.find_elements(By.CSS_SELECTOR, ".opblock-summary-path"))
    paths = {re.sub(r"[\u200b\s]", "", path.text) for path in shown}
    assert {"/api/monte-carlo/simulate", "/api/portfolio/strategies", "/api/funds/{fund_id}/companies"} <= paths
    assert complaints(browser) == []


def test_an_operator_signs_in_and_breaks_no_policy(browser: webdriver.Chrome, service: Service) -> None:
    User.objects.create_superuser("operator", password="a-long-password")
    browser.get(f"{service.address}/admin/")
    browser.find_element(By.NAME, "username").send_keys("operator")
    browser.find_element(By.NAME, "password").send_keys("a-long-password")
    browser.find_element(By.CSS_SELECTOR, "[type=submit]").click()
    WebDriverWait(browser, 30).until(lambda page: page.find_elements(By.ID, "user-tools"))
    assert "operator" in browser.find_element(By.ID, "user-tools").text.lower()
    assert complaints(browser) == []


def test_an_operator_changes_the_rollout_in_a_browser_and_breaks_no_policy(
    browser: webdriver.Chrome, service: Service
) -> None:
    User.objects.create_superuser("operator", password="a-long-password")
    browser.get(f"{service.address}/admin/ops/rollout/")
    browser.find_element(By.NAME, "username").send_keys("operator")
    browser.find_element(By.NAME, "password").send_keys("a-long-password")
    browser.find_element(By.CSS_SELECTOR, "[type=submit]").click()
    WebDriverWait(browser, 30).until(lambda page: page.find_elements(By.NAME, "reason"))
    browser.find_element(By.CSS_SELECTOR, "[name=mode][value=warn]").click()
    browser.find_element(By.NAME, "reason").send_keys("The clients were told")
    browser.find_element(By.CSS_SELECTOR, ".rollout [type=submit]").click()
    WebDriverWait(browser, 30).until(lambda page: page.find_elements(By.CSS_SELECTOR, ".mode-warn"))
    assert "The clients were told" in browser.find_element(By.CSS_SELECTOR, ".rollout-facts").text
    assert complaints(browser) == []
