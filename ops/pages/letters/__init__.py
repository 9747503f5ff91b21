"""Letters to the owners of clients: what to send instead, by when, and how to try it.

`content` reads what a client sends, `wording` makes text and CSV of it, `links` signs the address
under which an owner reads it without a login, and `page` shows both sides.
"""
