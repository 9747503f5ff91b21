"""Waiting for a page in a real browser, and reading the browser's console."""

from selenium import webdriver
from selenium.common.exceptions import JavascriptException, StaleElementReferenceException
from selenium.webdriver.support.ui import WebDriverWait


def wait(browser: webdriver.Chrome) -> WebDriverWait[webdriver.Chrome]:
    """Return a waiter for a condition of the page. It retries if the page changes meanwhile."""
    return WebDriverWait(
        browser, 60, ignored_exceptions=[StaleElementReferenceException, JavascriptException]
    )


def complaints(browser: webdriver.Chrome) -> list[str]:
    """Return the warnings and errors in the browser's console, except the missing favicon."""
    log = browser.get_log("browser")  # type: ignore[no-untyped-call]
    entries = [entry for entry in log if entry["level"] in {"WARNING", "SEVERE"}]
    return [entry["message"] for entry in entries if "/favicon.ico" not in entry["message"]]
