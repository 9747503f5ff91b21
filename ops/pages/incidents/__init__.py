"""Incidents: what happened when alert or guard took enforcement back, and what to do about it.

`record` reads an incident from the history of the rollout, `counts` what clients got meanwhile.
`timeline`, `advice` and `summary` put both into words, and `page` shows them.
"""
