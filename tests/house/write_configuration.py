"""`make docs`: write the table of docs/configuration.md from the declared settings."""

import re
from pathlib import Path

from stagenorm import env, settings

PLACE = Path(__file__).resolve().parents[2] / "docs" / "configuration.md"

if __name__ == "__main__":
    table = env.table(settings.read.variables)
    text = re.sub(
        r"(<!-- table -->\n).*?(<!-- end -->)",
        lambda found: found[1] + table + found[2],
        PLACE.read_text(),
        flags=re.S,
    )
    PLACE.write_text(text)
