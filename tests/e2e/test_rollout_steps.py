"""An operator takes the steps of the rollout in a browser, and begins anew after a way back."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from selenium import webdriver
from selenium.webdriver.common.by import By

from normalization import rollout_store
from normalization.rollout import Mode, without_enforcement
from tests.browser import complaints, wait
from tests.observed import counted
from tests.pages import HOME
from tests.servers import Service

pytestmark = [pytest.mark.e2e, pytest.mark.django_db(transaction=True)]


def press(browser: webdriver.Chrome, css: str, then: str) -> None:
    """Press the only such element, and wait for the heading that the next page begins with."""
    browser.find_element(By.CSS_SELECTOR, css).click()
    heading = lambda page: page.find_element(By.TAG_NAME, "h1").text.startswith(then)  # noqa: E731
    wait(browser).until(heading, then)


def test_a_step_takes_two_clicks_and_one_reason_and_after_a_way_back_the_first_is_next(
    browser: webdriver.Chrome, granian_server: Callable[..., Service]
) -> None:
    call_command("collectstatic", interactive=False, verbosity=0)
    service = granian_server(workers=1)
    User.objects.create_superuser("operator", password="a-long-password")
    rollout_store.change(Mode.WARN, actor="ann", source="tests", reason="All were told")
    counted("canonical", 400, client="deal-flow")
    counted("unknown", 30, client="deal-flow")
    browser.get(f"{service.address}/admin/login/?next={HOME}")
    browser.find_element(By.NAME, "username").send_keys("operator")
    browser.find_element(By.NAME, "password").send_keys("a-long-password")
    press(browser, "[type=submit]", "Ready for the next step")

    for before, step, after in (
        ("Next step: enforce for 10 %", "10", "Enforcing for 10 %"),
        ("Enforcing for 10 %", "25", "Enforcing for 25 %"),
    ):
        press(browser, ".next-card .btn", before)
        browser.find_element(By.ID, "next-reason").send_keys("the owners know")
        press(browser, "#next button", after)
        changed = browser.find_element(By.ID, "changed")
        assert f"Refusing unknown stages for {step} % of the clients" in changed.text
        assert changed.location["y"] < 400
        browser.get(f"{service.address}{HOME}")

    rollout_store.change(without_enforcement, actor="guard", source="guard", reason="8 %")
    browser.get(f"{service.address}{HOME}")
    assert "Enforcement was taken back automatically" in browser.page_source
    press(browser, ".next-card .btn", "Next step: enforce for 10 %")
    assert complaints(browser) == []
