"""Static files: hashed and compressed names once `collectstatic` has run, plain names until then."""

from whitenoise.storage import CompressedManifestStaticFilesStorage


class StaticFilesStorage(CompressedManifestStaticFilesStorage):  # type: ignore[misc] # whitenoise ships no types
    """Falls back to a file's plain name where the manifest lacks it: a page without its style beats no page."""

    manifest_strict = False

    def stored_name(self, name: str) -> str:
        """Return the hashed name, or `name` itself if the file was not collected."""
        try:
            return str(super().stored_name(name))
        except ValueError:
            return name
