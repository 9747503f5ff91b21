"""Django's PostgreSQL backend with what a session needs and cannot be told when it starts."""
