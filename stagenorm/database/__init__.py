"""Django's PostgreSQL backend, with a check of pooled connections that needs no round trip."""
