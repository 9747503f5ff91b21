"""The backfill: normalizes the stored rows in batches, with plan, checkpoint, audit log and undo.

Start reading at `run.py` (what a run does), then `batches.py` (what one transaction does) and `statements.py` (its SQL).
"""
