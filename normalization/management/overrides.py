"""The option `--override GATE="why"` of commands whose changes ask the gates."""

from __future__ import annotations

import argparse

from django.core.management.base import CommandParser


def add_override(parser: CommandParser, text: str) -> None:
    """Declare the option. `options["override"]` has a (gate, reason) for each use."""
    parser.add_argument(
        "--override",
        action="append",
        default=[],
        type=_override,
        metavar='GATE="WHY"',
        help=text,
    )


def _override(text: str) -> tuple[str, str]:
    gate, found, reason = text.partition("=")
    if not found or not gate.strip() or not reason.strip():
        raise argparse.ArgumentTypeError(
            f'{text!r} names no gate: use GATE="WHY", as in cooldown="the cause is fixed"'
        )
    return gate.strip(), reason.strip()
