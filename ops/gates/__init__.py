"""The gates: what must hold before more is enforced. Start at `rules`, which is pure."""
