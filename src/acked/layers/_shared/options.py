"""What several layers need: options from a URL's query, a consumer's name, the right loop."""

import asyncio
import os
import re
import socket
import uuid
from urllib.parse import parse_qsl, urlsplit

from acked.errors import CapabilityError, ConfigurationError
from acked.types import Finding, Severity

__all__ = (
    "consumer_name",
    "in_this_process",
    "number",
    "require_asyncio",
    "switch",
    "url_options",
    "whole_number",
    "without_credentials",
)


def consumer_name() -> str:
    """Return a name for one consumer of a group: readable, and never used twice."""
    return f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:12]}"


def in_this_process() -> Finding:
    """Return what `check()` has to say of a layer that keeps messages in the process's memory."""
    return Finding(
        "persistence",
        value=False,
        severity=Severity.NOTICE,
        message="messages live in this process's memory and end with it; where they must survive "
        "it, choose sqlite-queue, redis-streams, kafka or mqtt",
    )


def require_asyncio(client: str) -> None:
    """Raise `CapabilityError` unless asyncio runs, which is all that `client` is written for."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        raise CapabilityError(
            f"{client} runs on asyncio only; start with anyio.run(main) or asyncio.run(main()), or "
            "choose a layer that runs on trio: memory, memory-queue, sqlite-queue or mqtt"
        ) from None


def without_credentials(url: str) -> str:
    """Return `url` without user, password and query: fit for errors, logs and reprs."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"


def url_options(url: str, allowed: frozenset[str]) -> dict[str, str]:
    """Return the query options of `url`; raise `ConfigurationError` naming an unknown one."""
    options = dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))
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
