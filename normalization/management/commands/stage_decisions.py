"""`manage.py stage_decisions`: decide spellings, one file or one spelling at a time.

`plan` shows what a file would change and prints a hash. `apply` carries out exactly that plan, in
one transaction. `export` writes the decisions in force, so that another installation, or this
one after a restore, can apply them.
"""

from __future__ import annotations

import getpass
import hashlib
import sys
from argparse import SUPPRESS
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError as StoreError

from normalization import decision_effects, decision_file, decision_store, decisions
from normalization.decision_effects import DecisionEffects
from normalization.decision_file import DecisionFileRefused, DecisionRow
from normalization.decision_plan import DecisionPlan, table_after, table_of
from normalization.decision_warnings import DecisionVerdict
from normalization.decisions import DecisionHeld, DecisionRefused, DecisionResult
from normalization.effect_warnings import EffectWarning, effect_warnings
from normalization.management import decision_output as output
from normalization.management.overrides import add_override
from normalization.models import DecisionBatch
from normalization.packs import load_packs
from normalization.stages import SpellingTable
from stagenorm.terminal import progress_bar, show, show_json

DONE: Final = 0
FAILED: Final = 1
USAGE: Final = 2
GATE: Final = 3
ROWS_LEFT: Final = 4
STANDARD_STREAM: Final = "-"
PACK_PREFIX: Final = "pack:"


class Command(BaseCommand):
    requires_system_checks = ()  # `check` and the service run them
    help = "List, export, plan, apply, retire and undo decisions about spellings."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the actions and their arguments."""
        parser.add_argument("--json", action="store_true", help="print one JSON object")
        actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
        self._declare_reading(actions)
        self._declare_changes(actions)

    def handle(self, *args: Any, **options: Any) -> None:
        """Carry out one action.

        Exit status: 0 done, 1 failed or stale plan, 2 usage, 3 refused by a gate, 4 applied and
        stored rows need a backfill.
        """
        act: Callable[[dict[str, Any]], int] = getattr(self, f"_{options['action']}")
        try:
            status = act(options)
        except DecisionHeld as error:
            raise self._refusal(str(error), options, GATE) from error
        except (DecisionRefused, DecisionFileRefused, OSError) as error:
            raise self._refusal(_sentence(error), options) from error
        except StoreError as error:
            sentence = f"The database does not answer; nothing was changed: {error}"
            raise self._refusal(sentence, options) from error
        if status:
            sys.exit(status)

    def _declare_reading(self, actions: Any) -> None:
        listed = _action(actions, "list", "the decisions in force, or what is undecided")
        which = listed.add_mutually_exclusive_group()
        which.add_argument("--undecided", action="store_true", help="spellings without a decision")
        which.add_argument("--outside", action="store_true", help="only those that are outside")
        export = _action(actions, "export", "write the decisions in force as CSV")
        export.add_argument("file", metavar="FILE", help="where to; - for standard output")
        _declare_file(_action(actions, "plan", "show what a file would change; change nothing"))
        _action(actions, "packs", "the starter packs, and what each would settle")

    def _declare_changes(self, actions: Any) -> None:
        apply = _action(actions, "apply", "carry out the plan of a file")
        _declare_file(apply)
        apply.add_argument("--plan", required=True, metavar="HASH", help="the hash of the plan")
        apply.add_argument(
            "--confirm",
            action="append",
            default=[],
            metavar="SPELLING",
            help="decide it despite its hard warnings; repeatable",
        )
        apply.add_argument(
            "--confirm-effects",
            action="store_true",
            help="apply it although many rows of a fund lose their stage",
        )
        retire = _action(actions, "retire", "take decisions out of force")
        retire.add_argument("spellings", nargs="+", metavar="SPELLING")
        undo = _action(actions, "undo", "take back what a batch did, where it still stands")
        undo.add_argument("batch", type=int, metavar="BATCH")
        for each in (apply, retire, undo):
            required = each is retire
            each.add_argument("--reason", default="", required=required, help="why; recorded")
            each.add_argument("--actor", default=getpass.getuser(), help="who; your login name")
            add_override(each, "change it although this gate holds the change; recorded")

    def _list(self, options: dict[str, Any]) -> int:
        if options["undecided"]:
            with progress_bar("tables") as report:
                found = decision_effects.undecided_texts(decision_store.newest(), report)
            self._print(options, output.undecided_json(found), output.undecided_table(found))
            return DONE
        rows = decisions.in_force()
        if options["outside"]:
            rows = [row for row in rows if row.verdict == "outside"]
        self._print(options, output.decisions_json(rows), output.decisions_table(rows))
        return DONE

    def _export(self, options: dict[str, Any]) -> int:
        rows = decisions.in_force()
        text = decision_file.write(rows)
        if options["file"] == STANDARD_STREAM:
            self.stdout.write(text, ending="")
            return DONE
        Path(options["file"]).write_text(text, encoding="utf-8", newline="")
        if options["json"]:
            show_json(self.stdout, {"file": options["file"], "decisions": len(rows)})
        else:
            self.stdout.write(f"Wrote {len(rows):,} decisions to {options['file']}.")
        return DONE

    def _plan(self, options: dict[str, Any]) -> int:
        given = _Given(options["file"], prune=options["prune"])
        plan = decisions.plan(given.rows, prune=options["prune"])
        effects, found = _effects_of(plan)
        unconfirmed = plan.unconfirmed(given.confirmed)
        if options["json"]:
            members = output.plan_json(plan, unconfirmed, effects, given.to_choose)
            show_json(self.stdout, {**members, **output.effect_warnings_json(found)})
        else:
            tables = output.plan_tables(plan, unconfirmed, effects)
            show(self.stdout, *tables, *output.effect_warnings_tables(found))
            self.stdout.write(output.plan_sentences(plan, unconfirmed, effects, given.to_choose))
        return FAILED if plan.conflicts else DONE

    def _apply(self, options: dict[str, Any]) -> int:
        given = _Given(options["file"], prune=options["prune"])
        plan = decisions.plan(given.rows, prune=options["prune"])
        _refuse_other_hash(plan, options["plan"])
        effects, found = _effects_of(plan)
        _refuse_unconfirmed(found, confirmed=options["confirm_effects"])
        result = decisions.apply(
            plan,
            author=options["actor"],
            source=given.source,
            reason=options["reason"] or given.name,
            confirmed=[*options["confirm"], *given.confirmed],
            file_digest=given.digest,
            gate_overrides=dict(options["override"]),
        )
        return self._answer(result, effects, options)

    def _retire(self, options: dict[str, Any]) -> int:
        before = decision_store.newest()
        result = decisions.retire(
            options["spellings"],
            author=options["actor"],
            source=DecisionBatch.Source.COMMAND,
            reason=options["reason"],
            gate_overrides=dict(options["override"]),
        )
        return self._report(result, before, options)

    def _undo(self, options: dict[str, Any]) -> int:
        before = decision_store.newest()
        result = decisions.undo(
            options["batch"],
            author=options["actor"],
            source=DecisionBatch.Source.COMMAND,
            reason=options["reason"],
            gate_overrides=dict(options["override"]),
        )
        return self._report(result, before, options)

    def _packs(self, options: dict[str, Any]) -> int:
        with progress_bar("tables") as report:
            offers = decision_effects.pack_offers(decision_store.newest(), report)
        self._print(options, output.packs_json(offers), output.packs_table(offers))
        return DONE

    def _report(
        self, result: DecisionResult, before: SpellingTable, options: dict[str, Any]
    ) -> int:
        with progress_bar("tables") as report:
            effects = decision_effects.effects(before, decision_store.newest(), report)
        return self._answer(result, effects, options)

    def _answer(
        self, result: DecisionResult, effects: DecisionEffects, options: dict[str, Any]
    ) -> int:
        status = ROWS_LEFT if effects.rows_to_derive else DONE
        if options["json"]:
            show_json(self.stdout, {**output.result_json(result, effects), "status": status})
        else:
            self.stdout.write(output.result_sentences(result, effects))
        return status

    def _print(self, options: dict[str, Any], members: dict[str, Any], drawn: Any) -> None:
        if options["json"]:
            show_json(self.stdout, members)
        else:
            show(self.stdout, drawn)

    def _refusal(
        self, sentence: str, options: dict[str, Any], status: int = FAILED
    ) -> CommandError:
        if options["json"]:
            show_json(self.stdout, {"error": sentence, "status": status})
        return CommandError(sentence, returncode=status)


class _Given:
    """The rows that the operator names: a file, standard input, or a starter pack.

    A pack settles only what is undecided: earlier decisions stay. With `prune` it stands for all
    decisions, so that each of its rows counts.
    """

    def __init__(self, name: str, *, prune: bool = False) -> None:
        self.name = name
        self._prune = prune
        self.to_choose: tuple[DecisionRow, ...] = ()
        self.confirmed: tuple[str, ...] = ()
        if name.startswith(PACK_PREFIX):
            self._read_pack(name.removeprefix(PACK_PREFIX))
        else:
            self._read_file(name)

    def _read_pack(self, name: str) -> None:
        packs = load_packs()
        if name not in packs:
            known = ", ".join(packs)
            raise CommandError(f"There is no pack {name}; there are {known}.", returncode=USAGE)
        pack = packs[name]
        self.source, self.digest = DecisionBatch.Source.PACK, ""
        kept = frozenset() if self._prune else _decided_keys()
        self.rows = tuple(row for row in pack.decided if row.key not in kept)
        self.to_choose = tuple(row for row in pack.to_choose if row.key not in kept)
        # The rows of a pack are reviewed: choosing the pack confirms them.
        self.confirmed = tuple(row.spelling for row in pack.decided)

    def _read_file(self, name: str) -> None:
        data = sys.stdin.buffer.read() if name == STANDARD_STREAM else Path(name).read_bytes()
        self.source = DecisionBatch.Source.FILE
        self.digest = hashlib.sha256(data).hexdigest()
        self.rows = decision_file.read(data)


def _effects_of(plan: DecisionPlan) -> tuple[DecisionEffects, tuple[EffectWarning, ...]]:
    """Return what a plan would change, and what speaks against that."""
    in_force = decisions.in_force()
    before, after = table_of(in_force, plan.version), table_after(plan, in_force)
    with progress_bar("tables") as report:
        effects = decision_effects.effects(before, after, report)
    return effects, effect_warnings(plan, effects, in_force)


def _refuse_unconfirmed(found: tuple[EffectWarning, ...], *, confirmed: bool) -> None:
    hard = [each.sentence for each in found if each.hard]
    if hard and not confirmed:
        raise DecisionRefused(
            "Nothing was written. Add --confirm-effects if you mean it:\n" + "\n".join(hard)
        )


def _decided_keys() -> frozenset[str]:
    """Return the folded spellings that have a decision in force, open ones excepted."""
    in_force = decisions.in_force()
    return frozenset(row.key for row in in_force if row.verdict is not DecisionVerdict.OPEN)


def _action(actions: Any, name: str, text: str) -> CommandParser:
    parser: CommandParser = actions.add_parser(name, help=text)
    # Again here, so that the option may stand after the action. Without a default, or it would
    # undo the one before.
    parser.add_argument("--json", action="store_true", default=SUPPRESS, help="print JSON")
    return parser


def _declare_file(parser: CommandParser) -> None:
    text = f"CSV with the columns {','.join(decision_file.COLUMNS)}; - for standard input; "
    parser.add_argument("file", metavar="FILE", help=f"{text}{PACK_PREFIX}NAME for a starter pack")
    parser.add_argument(
        "--prune", action="store_true", help="retire the decisions that the file does not have"
    )


def _refuse_other_hash(plan: DecisionPlan, approved: str) -> None:
    if plan.hash != approved:
        raise decisions.StalePlan(
            f"The file or the decisions have changed: plan {approved} was approved, the plan is "
            f"now {plan.hash}. Nothing was written. Check the new plan and approve its hash."
        )


def _sentence(error: Exception) -> str:
    if isinstance(error, DecisionFileRefused):
        return "The file is refused:\n" + "\n".join(map(str, error.faults))
    return str(error)
