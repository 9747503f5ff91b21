"""Dates and times as the console writes them: 26 Nov 2026 14:31. Django reads this module."""

from typing import Final

DATE_FORMAT: Final = "j M Y"
SHORT_DATE_FORMAT: Final = DATE_FORMAT
TIME_FORMAT: Final = "H:i"
DATETIME_FORMAT: Final = "j M Y H:i"
SHORT_DATETIME_FORMAT: Final = DATETIME_FORMAT
