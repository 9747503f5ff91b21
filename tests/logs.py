"""Log records, for tests that examine them."""

import io
import json
import logging
from typing import Any

from tests.servers import Service


class Logged:
    """What is logged, in the form in which it is written."""

    def __init__(self) -> None:
        self.handler = logging.StreamHandler(io.StringIO())

    def take(self) -> str:
        """Return the lines since the last call."""
        text: str = self.handler.stream.getvalue()
        self.handler.setStream(io.StringIO())
        return text


def records(service: Service) -> list[dict[str, Any]]:
    """Return the JSON records of the service's log."""
    return [
        json.loads(line) for line in service.log.read_text().splitlines() if line.startswith("{")
    ]
