"""What an unknown spelling probably meant. Shown to people, never applied."""

from normalization import vocabulary

_KEYS = vocabulary.folded_spellings()


def suggest(key: str) -> tuple[str, ...]:
    """Values of at most two stages, best first; none rather than a bad one."""
    return vocabulary.PROBABLE.get(key, ())
