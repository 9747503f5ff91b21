"""The operator's console in the admin: the rollout page, the pages of clients, and the state of the platform.

`pages` has the rollout page's views. What they show is read by `panels` (gates), `outcome_counts` and
`unknown_spellings`, drawn by `outcome_chart`, and told beforehand by `effects`; `form` reads what the operator wants,
`proposals` fills it in for a link, and `enforcement` says what it makes of one client. `strip` heads the start page.
`clients` has the pages of clients and `stage_clients`: the list, one client, and what both read.
"""
