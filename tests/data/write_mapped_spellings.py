"""The spellings of `stage_vocabulary.csv` that the table maps, as a file to review.

Regenerate it after a change of `normalization/vocabulary.py`, review the diff, commit both:

    python -m tests.data.write_mapped_spellings
"""

import csv
import io
from pathlib import Path

from normalization.stages import Known, normalize

HERE = Path(__file__).parent
MAPPED = HERE / "mapped_spellings.csv"


def vocabulary() -> list[str]:
    """The distinct spellings of the public sources, exactly as they stand there."""
    with (HERE / "stage_vocabulary.csv").open(newline="", encoding="utf-8") as file:
        return [row["raw"] for row in csv.DictReader(file)]


def mapped_spellings() -> str:
    """CSV of stage and raw spelling, by stage and then by spelling, every field quoted."""
    found = (known for raw in vocabulary() if isinstance(known := normalize(raw), Known))
    rows = sorted((known.stage.position, known.stage.value, known.raw) for known in found)
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow(("stage", "raw"))
    writer.writerows((stage, raw) for _, stage, raw in rows)
    return text.getvalue()


if __name__ == "__main__":
    MAPPED.write_text(mapped_spellings(), encoding="utf-8", newline="")
    print(f"Wrote {MAPPED.name}; read its diff before you commit it.")
