"""The backfill: normalizes the stored rows in batches, with plan, checkpoint, audit log and undo.

Start reading at `run.py` (a run from first column to last), then `passes.py` (one column), `walk.py` (one pass),
`batches.py` (one transaction) and `statements.py` (its SQL). `control.py` has what changes a run's state.
"""
