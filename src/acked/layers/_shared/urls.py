"""URLs of servers: their options, and what of them may be shown.

Whatever stands before an `@` may be part of a password, and a password that is not percent-encoded
may have any of `/ ? #` in it. Then nobody can say where it ends, so such a URL is refused, and no
part of it is shown.
"""

import re
from typing import Final
from urllib.parse import SplitResult, parse_qsl, urlsplit

from acked.errors import ConfigurationError

__all__ = (
    "HIDDEN",
    "number",
    "split_server_url",
    "switch",
    "url_options",
    "whole_number",
    "without_credentials",
)

HIDDEN: Final = "..."
"""What is shown instead of an address that cannot be told from a password."""

_PARTS: Final = re.compile(
    r"(?P<scheme>[^:/?#]*)://(?P<server>[^/?#]*)(?P<path>[^?#]*)(?P<rest>.*)", re.DOTALL
)


def without_credentials(url: str) -> str:
    """Return `url` without user, password and query: fit for errors, logs and reprs."""
    parts = _PARTS.fullmatch(url)
    if parts is None:
        return HIDDEN
    scheme, server, path, rest = parts.groups()
    if "@" in path + rest:
        return f"{scheme}://{HIDDEN}"
    return f"{scheme}://{server.rpartition('@')[2]}{path}"


def split_server_url(url: str) -> SplitResult:
    """Return the parts of `url`; `ConfigurationError` if a password may reach into them."""
    parts = _PARTS.fullmatch(url)
    if parts is None or "@" in parts["path"] + parts["rest"]:
        raise _unreadable(url)
    return _split(url)


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:  # which quotes what it could not read
        raise _unreadable(url) from None


def _unreadable(url: str) -> ConfigurationError:
    return ConfigurationError(
        f"the URL {without_credentials(url)} cannot be read; in user and password write %40 for @, "
        "%2F for /, %3F for ?, %23 for #, %5B and %5D for brackets, and %40 for any @ behind them"
    )


def url_options(url: str, allowed: frozenset[str], *, is_file: bool = False) -> dict[str, str]:
    """Return the query options of `url`; raise `ConfigurationError` naming an unknown one.

    `is_file`: it names a file and never has a password, so that its path may have an `@` in it.
    """
    parts = _split(url) if is_file else split_server_url(url)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    unknown = sorted(options.keys() - allowed)
    if unknown:
        known = ", ".join(sorted(allowed)) or "none"
        raise ConfigurationError(
            f"unknown option {unknown[0]!r} in {without_credentials(url)}; known options: {known}"
        )
    return options


def number(name: str, text: str) -> float:
    """Return `text` as a number; raise `ConfigurationError` naming the option `name`."""
    try:
        return float(text)
    except ValueError:
        raise ConfigurationError(f"option {name!r} must be a number, not {text!r}") from None


def whole_number(name: str, text: str) -> int:
    """Return `text` as a whole number from 0, as `number` does."""
    if not re.fullmatch(r"[0-9]{1,15}", text):
        raise ConfigurationError(f"option {name!r} must be a whole number, not {text!r}")
    return int(text)


def switch(name: str, text: str) -> bool:
    """Return what `true`, `1`, `false` or `0` says, as `number` does."""
    if text not in {"1", "true", "0", "false"}:
        raise ConfigurationError(f"option {name!r} must be true or false, not {text!r}")
    return text in {"1", "true"}
