"""The operator's console in the admin: the rollout page and the state of the platform on the start page.

`pages` has the views. What they show is read by `panels` (gates), `outcome_counts` and `unknown_spellings`, drawn by
`outcome_chart`, and told beforehand by `effects`; `form` reads what the operator wants; `strip` heads the start page.
"""
