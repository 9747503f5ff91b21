"""The consumer audit: who calls the endpoints, by access logs and code, and what was decided."""
