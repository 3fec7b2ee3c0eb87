"""What a codec's error may say: its class, what was expected and where; never a value."""

import re
from collections.abc import Callable
from typing import Any, Final

__all__ = ("without_values",)

_HARMLESS: Final = re.compile(
    r"(Expected `[^`]{1,200}`(, got `[^`]{1,200}`)?|Object missing required field `[^`]{1,200}`"
    r"|Input data was truncated|Invalid (RFC3339|ISO8601) encoded \w+|Invalid UUID)"
    r"( - at `[^`]{1,500}`)?|JSON is malformed: [a-z ,]+ \(byte \d+\)"
)
"""What msgspec says by itself. It writes a key of a dict as `[...]`; whatever else may quote."""


def without_values(error: Exception) -> ValueError:
    """Return what to chain instead of `error`, whose words and arguments may quote the body."""
    name = type(error).__name__
    words = str(error)
    if error.__cause__ is None and _HARMLESS.fullmatch(words):
        return ValueError(f"{name}: {words}")
    kinds = _kinds(error)
    return ValueError(f"{name}: {kinds}" if kinds else f"{name} (its words may quote the body)")


def _kinds(error: Exception) -> str:
    """Return what pydantic calls each of its errors, `int_parsing` for example."""
    details: Callable[..., list[dict[str, Any]]] | None = getattr(error, "errors", None)
    if not type(error).__module__.startswith("pydantic") or details is None:
        return ""
    found = details(include_url=False, include_context=False, include_input=False)
    return ", ".join(sorted({str(one["type"]) for one in found}))
