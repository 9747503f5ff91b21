"""The import of companies from files, as `manage.py import_companies` and the admin use it.

`imported_file` and `dialect` turn bytes into text, `records` text into records, `columns` and
`values` cells into values, and `lines` records into rows. `staging` copies the rows into a
temporary table, finds their keys and inserts them. `importing` is the one function that plans an
import and carries it out; `undo` takes one back. Start at `importing`.
"""
