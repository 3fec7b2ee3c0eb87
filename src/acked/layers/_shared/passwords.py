"""A password, or what returns the one that is valid now: asked for each connection."""

import inspect
from collections.abc import Callable
from typing import TypeAlias, cast

from acked.errors import ConfigurationError, LayerError

__all__ = ("Password", "check_password", "current")

Password: TypeAlias = str | Callable[[], str]


def check_password(password: Password | None) -> None:
    """Raise `ConfigurationError` for a function that returns no text when it is called."""
    if inspect.iscoroutinefunction(password):
        raise ConfigurationError("password must be a function that returns it, not an async one")


def current(password: Password) -> str:
    """Return the password as it is now; nothing that its function says goes into an error."""
    if isinstance(password, str):
        return password
    try:
        secret = cast("object", password())
    except Exception as error:
        raise LayerError(
            f"the function that was given as password= raised {type(error).__name__}",
            may_pass=True,  # where secrets are kept there are failures that pass, too
        ) from error
    if not isinstance(secret, str):
        raise LayerError(
            f"the function that was given as password= returned {type(secret).__name__}, not str"
        )
    return secret
