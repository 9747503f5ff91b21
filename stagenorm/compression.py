"""Compressed answers of the API: zstd, Brotli or gzip, where the client asks for one.

BREACH recovers a secret from the lengths of compressed answers. It needs an answer that has both
the secret and text of the attacker, and a browser that sends the victim's credentials by itself.
Only the API is compressed, and neither holds there: a key comes in the `Authorization` header,
which no foreign page can send, and no answer has a key, a token or a cookie in it. The operator's
pages authenticate by cookie and have form tokens. They are never compressed.
"""

from __future__ import annotations

from typing import Any

from compression_middleware.middleware import CompressionMiddleware
from django.http import HttpRequest

from stagenorm.page_middleware import is_api


class ApiCompression(CompressionMiddleware):  # type: ignore[misc]  # the package has no types
    """Compresses answers of at least 500 bytes to API requests with an `Accept-Encoding`."""

    def __call__(self, request: HttpRequest) -> Any:
        if "HTTP_ACCEPT_ENCODING" in request.META and is_api(request):
            return super().__call__(request)
        return self.get_response(request)
