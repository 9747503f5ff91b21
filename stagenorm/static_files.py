"""Static files: hashed names once `collectstatic` has run, plain names until then."""

from typing import Any

from whitenoise.compress import Compressor
from whitenoise.storage import CompressedManifestStaticFilesStorage


class StaticFilesStorage(CompressedManifestStaticFilesStorage):  # type: ignore[misc] # untyped
    """Falls back to the plain name of a file that the manifest lacks.

    An unstyled page is better than an error page.
    """

    manifest_strict = False

    def create_compressor(self, **options: Any) -> Compressor:
        """Return a compressor without Brotli, which takes half a minute for the docs' scripts."""
        return Compressor(**{**options, "use_brotli": False})

    def stored_name(self, name: str) -> str:
        """Return the hashed name, or `name` itself if the file was not collected."""
        try:
            return str(super().stored_name(name))
        except ValueError:
            return name
