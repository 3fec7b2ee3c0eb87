"""Where things are kept that are fetched or written once for each machine, outside git."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return the folder: `ACKED_CACHE`, else in the user's cache."""
    if chosen := os.environ.get("ACKED_CACHE"):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "acked"
