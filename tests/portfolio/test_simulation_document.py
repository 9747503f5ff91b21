"""docs/simulation.md shows the calibration and the limits of the profile."""

from io import StringIO
from pathlib import Path

from django.core.management import call_command

from stagenorm.portfolio.market_v2 import MARKET_V2

DOCUMENT = (Path(__file__).parents[2] / "docs" / "simulation.md").read_text("utf-8")


def test_the_table_of_the_document_is_the_output_of_the_command() -> None:
    """To update it: manage.py calibration_table"""
    printed = StringIO()
    call_command("calibration_table", stdout=printed)
    _, _, rest = DOCUMENT.partition("<!-- calibration -->\n")
    assert rest.partition("<!-- end of calibration -->")[0] == printed.getvalue()


def test_the_document_states_every_known_limit() -> None:
    assert [limit for limit in MARKET_V2.known_limits if f"- {limit}\n" not in DOCUMENT] == []
