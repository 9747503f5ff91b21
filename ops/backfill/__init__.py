"""The backfill: normalizes the stored rows in batches, with plan, checkpoint, audit log and undo.

Start reading at `run.py` (what a run does), then `batches.py` (one transaction) and `statements.py` (its SQL).
"""
