"""The operator's console in the admin: the rollout page, the pages of clients, and the state of the platform.

`pages` has the rollout page's views. What they show is read by `panels` (gates), `outcome_counts` and
`unknown_spellings`, drawn by `outcome_chart`, and told beforehand by `effects`; `form` reads what the operator wants,
`proposals` fills it in for a link. `clients_page` lists who still sends what and `client_page` shows one client, out of
`client_counts`, `client_spellings`, `key_holders` and, for what enforcement makes of it, `enforcement`. `strip` heads
the start page.
"""
