"""`make docs`: write the generated parts of docs/.

These are the table of docs/configuration.md, from the declared settings, and the layers in
docs/architecture.md, from the import contracts of pyproject.toml.
"""

import re
import tomllib
from pathlib import Path

from stagenorm import env, settings

ROOT = Path(__file__).resolve().parents[2]
CONFIGURATION = ROOT / "docs" / "configuration.md"
ARCHITECTURE = ROOT / "docs" / "architecture.md"


def layers() -> dict[str, list[str]]:
    """Return the layers of each import contract, top to bottom, by the contract's name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = project["tool"]["importlinter"]["contracts"]
    return {contract["name"]: contract.get("layers", []) for contract in contracts}


def main() -> None:
    """Rewrite both documents in place."""
    table = env.table(settings.read.variables)
    text = re.sub(
        r"(<!-- table -->\n).*?(<!-- end -->)",
        lambda found: found[1] + table + found[2],
        CONFIGURATION.read_text(),
        flags=re.DOTALL,
    )
    CONFIGURATION.write_text(text)
    held = layers()
    text = re.sub(
        r"(<!-- layers: (.*?) -->\n```\n).*?(```\n)",
        lambda found: found[1] + "".join(f"{layer}\n" for layer in held[found[2]]) + found[3],
        ARCHITECTURE.read_text(),
        flags=re.DOTALL,
    )
    ARCHITECTURE.write_text(text)


if __name__ == "__main__":
    main()
