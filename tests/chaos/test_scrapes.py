"""Prometheus can scrape the counters while the database hangs: the way back depends on it."""

import urllib.request

import yaml

from ops import exporter
from tests.servers import ROOT, PostgresServer, Service, wait_until

FROM_DATABASE = "stage_backup_last_valid_timestamp_seconds 0.0"


def scrape(service: Service) -> str:
    """The metrics; fails where they do not come while the database hangs."""
    with urllib.request.urlopen(f"{service.address}/metrics", timeout=60) as answer:
        return str(answer.read().decode())


def test_a_scrape_waits_for_the_database_half_of_its_time_at_most() -> None:
    jobs = yaml.safe_load((ROOT / "ops" / "prometheus" / "prometheus.yml").read_text())[
        "scrape_configs"
    ]
    [timeout] = [job["scrape_timeout"] for job in jobs if job["job_name"] == "stagenorm"]
    assert float(timeout.removesuffix("s")) / 2 >= exporter.DATABASE_SECONDS


def test_a_database_that_hangs_costs_a_scrape_nothing_of_what_was_counted(
    postgres_server: PostgresServer,
) -> None:
    service = Service(1, {"DATABASE_URL": postgres_server.url()}, 2)
    try:
        service.start()
        service.manage("migrate", "--verbosity", "0")
        assert FROM_DATABASE in scrape(service)
        with postgres_server.frozen():
            for _ in range(3):
                text = scrape(service)
                assert "stage_validation_requests_total{" in text
                assert FROM_DATABASE not in text
        wait_until(lambda: FROM_DATABASE in scrape(service), "the database's metrics to come back")
    finally:
        service.remove()
