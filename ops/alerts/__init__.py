"""The automatic way back: alert rules fire, a signed webhook turns `enforce` into `warn`. Start at `webhook`."""
