"""What the URLs of both layers on Redis have in common."""

from acked.errors import ConfigurationError

__all__ = ("yes_or_no",)


def yes_or_no(name: str, text: str) -> bool:
    """Return what `text` says; raises `ConfigurationError` naming the option `name`."""
    if text not in {"0", "1"}:
        raise ConfigurationError(f"option {name!r} must be 0 or 1, not {text!r}")
    return text == "1"
