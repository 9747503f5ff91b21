"""Who still sends what: each client's requests and spellings, and what enforcement would do to it."""
