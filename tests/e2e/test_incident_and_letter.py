"""After a breach: from the start page to its cause, the hurt clients, and a letter to an owner."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from urllib.parse import urlsplit

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from normalization import rollout_store
from normalization.rollout import Mode, Rollout
from tests.browser import complaints, wait
from tests.incidents import SUMMARY, Sent, alert_acts, sends
from tests.pages import HOME
from tests.servers import Service

pytestmark = [pytest.mark.e2e, pytest.mark.django_db(transaction=True)]


class ClickingOperator:
    """Clicks as a person does, and counts the clicks."""

    def __init__(self, browser: webdriver.Chrome, service: Service) -> None:
        self.browser, self.service = browser, service
        self.clicks = 0

    def open(self, path: str) -> None:
        """Open an address, and count the clicks from there."""
        self.browser.get(self.service.address + path)
        self.clicks = 0

    def click(self, selector: str) -> None:
        """Click the first such element, and wait for the page that follows."""
        page, element = self.browser.find_element(By.TAG_NAME, "html"), self.find(selector)
        self.browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()
        self.clicks += 1
        wait(self.browser).until(
            lambda browser: (
                browser.find_element(By.TAG_NAME, "html") != page
                and browser.execute_script("return document.readyState") == "complete"
            )
        )

    def find(self, selector: str) -> WebElement:
        """Return the first such element."""
        found: WebElement = wait(self.browser).until(
            lambda page: page.find_element(By.CSS_SELECTOR, selector)
        )
        return found

    def text(self, selector: str) -> str:
        """Return the text of the first such element."""
        return self.find(selector).text


@pytest.fixture
def operator(
    browser: webdriver.Chrome, granian_server: Callable[..., Service]
) -> ClickingOperator:
    """An operator who looks at the start page after a breach."""
    call_command("collectstatic", interactive=False, verbosity=0)
    for to in (Rollout(Mode.WARN), Rollout(Mode.ENFORCE, Decimal(100))):
        rollout_store.change(to, actor="olga", source="admin", reason="All checks pass")
    rollout_store.forget()
    sends("sourcing", "Series A Extension", "Bridge note", times=12)
    sends("bystander", "Of another client", times=3)
    alert_acts(
        {"sourcing": Sent(80, 20), "bystander": Sent(900, 0)}, annotations={"summary": SUMMARY}
    )
    service = granian_server(workers=1)
    User.objects.create_superuser("operator", password="a-long-password")
    browser.get(f"{service.address}/admin/login/?next={HOME}")
    browser.find_element(By.NAME, "username").send_keys("operator")
    browser.find_element(By.NAME, "password").send_keys("a-long-password", Keys.ENTER)
    wait(browser).until(lambda page: page.find_elements(By.ID, "user-tools"))
    return ClickingOperator(browser, service)


def test_a_breach_leads_to_its_cause_the_hurt_client_the_next_action_and_a_letter(
    operator: ClickingOperator,
) -> None:
    operator.open(HOME)
    operator.click(".notice.bad a.btn")
    assert operator.text("h1").startswith("Enforcement was taken back on")
    assert "Safe now" in operator.text("#safety")
    assert SUMMARY in operator.text(".timeline")
    hurt = operator.text("#hurt table")
    assert "sourcing" in hurt
    assert "bystander" not in hurt
    assert "Decide the 2 spellings" in operator.text(".todo-list li:first-child")
    operator.click(".todo-list .btn.primary")
    assert operator.clicks == 2
    assert "/ops/spellings/" in operator.browser.current_url
    assert complaints(operator.browser) == []

    operator.open(HOME)
    operator.click(".cnav a[href$='/rollout/clients/']")
    operator.click("table.clients a[href*='name=sourcing']")
    operator.click(".letter-link a")
    assert operator.clicks == 3
    assert "Letter to the owner of sourcing" in operator.text("h1")
    link = urlsplit(str(operator.find("#link").get_attribute("value")))
    assert complaints(operator.browser) == []

    operator.browser.delete_all_cookies()
    operator.open(f"{link.path}?{link.query}")
    assert operator.text("h1") == "Stage names of sourcing"
    assert "Bridge note" in operator.text("main")
    for foreign in ("bystander", "Of another client"):
        assert foreign not in operator.browser.page_source
    assert complaints(operator.browser) == []
    operator.open(f"{link.path}?{link.query[:-3]}")
    assert operator.text("h1") == "This link has ended"
