"""Django's PostgreSQL backend with pinned limits and a check of the pool without a round trip."""
