"""The backfill: normalizes the stored rows in batches, with plan, checkpoint, audit log and undo.

Reading order: `runner` (a run from its first column to its last), `passes` (one column), `batches`
(one transaction), `sql` (its statements). `control` has every change of a run's state.
"""
