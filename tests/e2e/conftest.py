"""The browser of the end-to-end tests."""

import shutil
from collections.abc import Iterator

import pytest
from selenium import webdriver


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
