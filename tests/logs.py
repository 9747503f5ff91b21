"""The log, for tests that look at it."""

import io
import logging


class Logged:
    """What is logged, in the form in which it is written."""

    def __init__(self) -> None:
        self.handler = logging.StreamHandler(io.StringIO())

    def take(self) -> str:
        """Return the lines since the last call."""
        text: str = self.handler.stream.getvalue()
        self.handler.setStream(io.StringIO())
        return text
