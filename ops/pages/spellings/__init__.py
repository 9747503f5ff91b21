"""The inbox of spellings: which undecided texts matter most, and what they mean."""
