"""An operator steers a real run in a browser: the page follows it by itself, and breaks no policy."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from selenium import webdriver
from selenium.webdriver.common.by import By

from ops.backfill.models import BackfillRun
from tests.backfill_runs import Command, store_many, valid_backup
from tests.browser import complaints, wait
from tests.servers import Service, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def service(granian_server: Callable[..., Service]) -> Service:
    """The service with its static files, as in production."""
    call_command("collectstatic", interactive=False, verbosity=0)
    return granian_server(workers=1)


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Command]:
    """A run that would take a quarter of an hour (1,000 batches, 700 ms between them), as a process of its own."""
    store_many(20_000)
    valid_backup()
    directory = tmp_path / "run"
    directory.mkdir()
    options = ("--batch-size", "20", "--max-batch-size", "20", "--backoff-ms", "700")
    command = Command("--apply", *options, directory=directory)
    try:
        yield command
    finally:
        if command.process.poll() is None:
            command.kill()


def sign_in(browser: webdriver.Chrome, address: str) -> None:
    User.objects.create_superuser("operator", password="a-long-password")
    browser.get(address)
    browser.find_element(By.NAME, "username").send_keys("operator")
    browser.find_element(By.NAME, "password").send_keys("a-long-password")
    browser.find_element(By.CSS_SELECTOR, "[type=submit]").click()


def until_shown(browser: webdriver.Chrome, selector: str, text: str) -> None:
    """Wait until the page, left to itself, shows it."""
    script = (
        "return document.querySelector(arguments[0])?.innerText.includes(arguments[1]) ?? false"
    )
    wait(browser).until(
        lambda page: page.execute_script(script, selector, text), f"{selector}: {text}"
    )


def press(browser: webdriver.Chrome, wish: str) -> None:
    """Press a button; one that the page exchanges between the look and the press is looked for again."""

    def pressed(page: webdriver.Chrome) -> bool:
        page.find_element(By.CSS_SELECTOR, f"form[action$='/{wish}/'] button").click()
        return True

    wait(browser).until(pressed, wish)


def test_a_run_is_paused_resumed_and_cancelled_and_its_page_follows(
    browser: webdriver.Chrome, service: Service, command: Command
) -> None:
    find = BackfillRun.objects.filter(batch__gt=1)
    wait_until(find.exists, "the run to begin")
    run = find.get()
    sign_in(browser, f"{service.address}/admin/ops/backfillrun/{run.pk}/change/")
    until_shown(browser, "#live-state", "running")
    looked_at = browser.execute_script("return document.querySelector('progress').value")
    wait(browser).until(
        lambda page: (
            page.execute_script("return document.querySelector('progress').value") > looked_at
        ),
        "the progress moves by itself",
    )

    press(browser, "pause")
    until_shown(browser, "#live-state", "paused")
    assert BackfillRun.objects.get(pk=run.pk).history[-1]["actor"] == "operator"

    press(browser, "resume")
    until_shown(browser, "#live-state", "running")
    batch = BackfillRun.objects.get(pk=run.pk).batch
    wait_until(lambda: BackfillRun.objects.get(pk=run.pk).batch > batch, "its process to go on")

    press(browser, "cancel")
    until_shown(browser, "h1", f"Cancel run {run.pk}?")
    assert BackfillRun.objects.get(pk=run.pk).state == "running"
    browser.find_element(By.CSS_SELECTOR, "#content-main form button").click()
    until_shown(browser, "#live-state", "cancelled")
    assert command.wait() == 1
    assert "was cancelled" in command.said()
    wait(browser).until(
        lambda page: not page.find_elements(By.CSS_SELECTOR, "[data-refresh]"),
        "a page of a run that is over is still",
    )
    actions = [
        form.get_attribute("action")
        for form in browser.find_elements(By.CSS_SELECTOR, ".steer form")
    ]
    assert [str(action).rsplit("/", 2)[1] for action in actions] == ["undo"]
    assert complaints(browser) == []


def test_a_page_that_gets_no_answer_says_that_its_figures_are_old(
    browser: webdriver.Chrome, service: Service, command: Command
) -> None:
    find = BackfillRun.objects.filter(batch__gt=1)
    wait_until(find.exists, "the run to begin")
    sign_in(browser, f"{service.address}/admin/ops/backfillrun/")
    until_shown(browser, "#live-runs", "running")
    browser.delete_all_cookies()  # the session is over: an answer would be the login page
    until_shown(browser, "[data-stale]:not([hidden])", "not current")
