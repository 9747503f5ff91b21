"""Signatures of backups' records and of drill results: Ed25519, derived from `DJANGO_SECRET_KEY`.

The verification key is public. An installation that has it can check what this one signed, without
holding a secret of it. `manage.py backup_key` prints the key; a staging server gets it as
`BACKUP_VERIFICATION_KEYS`, and its own goes into `BACKUP_DRILL_KEYS` here.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.utils.crypto import salted_hmac

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SALT: Final = "ops.backups.signing.ed25519"
SIGNATURE: Final = "ed25519"


class SignatureRejected(Exception):
    """The document is unsigned, changed, or signed with a key that is not trusted."""


def own_key() -> str:
    """Return the verification key of this installation: 32 bytes in base64."""
    return _public(_private(settings.SECRET_KEY))


def own_keys() -> list[str]:
    """Return the verification keys of `DJANGO_SECRET_KEY` and of its fallbacks."""
    return [
        _public(_private(str(secret)))
        for secret in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    ]


def signed(document: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON document with a signature over all of its members."""
    key = _private(settings.SECRET_KEY)
    signature = base64.b64encode(key.sign(_message(document))).decode()
    return {**document, SIGNATURE: {"key": _public(key), "signature": signature}}


def verified(document: dict[str, Any], trusted: Collection[str]) -> dict[str, Any]:
    """Return the members of a signed document without the signature.

    The key in the document only helps to choose; `trusted` decides. Raises `SignatureRejected`.
    """
    # Importing the library takes 0.1 s, which a web process never needs.
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    members = {name: value for name, value in document.items() if name != SIGNATURE}
    found = document.get(SIGNATURE)
    if not isinstance(found, dict):
        raise SignatureRejected("it has no signature")
    key = str(found.get("key"))
    if key not in trusted:
        raise SignatureRejected(f"it is signed with the key {key}, which is not trusted here")
    try:
        signature = base64.b64decode(str(found.get("signature")), validate=True)
        public = Ed25519PublicKey.from_public_bytes(base64.b64decode(key))
        public.verify(signature, _message(members))
    except (binascii.Error, ValueError, InvalidSignature) as error:
        raise SignatureRejected("its content was changed after it was signed") from error
    return members


def _private(secret: str) -> Ed25519PrivateKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    seed = salted_hmac(SALT, "", secret=secret, algorithm="sha256").digest()
    return Ed25519PrivateKey.from_private_bytes(seed)


def _public(key: Ed25519PrivateKey) -> str:
    return base64.b64encode(key.public_key().public_bytes_raw()).decode()


def _message(document: dict[str, Any]) -> bytes:
    # `format` is a member of every document, so that a record never passes as a drill result.
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
