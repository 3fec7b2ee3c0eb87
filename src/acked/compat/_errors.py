"""The originals' own errors, and those of `acked` that are a driver's as well."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Final, TypeAlias, cast

from acked.errors import ConnectionLost, LayerError, PublishFailed

__all__ = ("BaseApplicationError", "Driver", "ImproperlyConfigured", "NotSupportedError")

Kinds: TypeAlias = tuple[type[Exception], ...]


class BaseApplicationError(Exception):
    """An error with a message for people, details for developers, and a status for HTTP."""

    message: str = "INTERNAL_SERVER_ERROR"
    details: str | None = None
    status_code: int = 500

    def __init__(
        self, details: str | None = None, message: str | None = None, status_code: int | None = None
    ) -> None:
        super().__init__(details, message, status_code)
        self.message = message or self.message
        self.details = details or self.details
        self.status_code = status_code or self.status_code

    def __str__(self) -> str:
        return "\n".join(part for part in (self.message, self.details) if part)


class ImproperlyConfigured(BaseApplicationError):
    """An option is wrong."""

    message = "Application is configured improperly."


class NotSupportedError(BaseApplicationError, NotImplementedError):
    """A backend cannot do what was asked of it."""

    message = "Requested action is not supported now."


class Driver:
    """The kinds of error that an application knows from its driver: `except redis.ConnectionError`.

    `lost` are those of a connection that broke or could not be made, `refused` those of the rest.
    """

    def __init__(self, *, lost: Kinds = (), refused: Kinds = ()) -> None:
        self._lost: Final = lost
        self._refused: Final = refused

    def also(self, error: LayerError) -> LayerError:
        """Return a copy of `error` that is an instance of the driver's kinds, too."""
        kind = _both(type(error), self._lost if _is_loss(error) else self._refused)
        made = kind.__new__(kind, *error.args)
        made.args = error.args
        made.__dict__.update(error.__dict__)
        return made

    @contextmanager
    def translated(self) -> Generator[None]:
        """Raise what `also` makes of a `LayerError` within."""
        try:
            yield
        except LayerError as error:
            raise self.also(error) from error


def _is_loss(error: BaseException) -> bool:
    if isinstance(error, PublishFailed):
        return any(_is_loss(one) for one in error.failures.values())
    return isinstance(error, ConnectionLost)


def _both(ours: type[LayerError], theirs: Kinds) -> type[LayerError]:
    parents = (ours, *(kind for kind in theirs if not issubclass(ours, kind)))
    # Of the parents' metaclasses the most special one: asyncpg's errors have their own.
    metaclass = max((type(parent) for parent in parents), key=lambda kind: len(kind.__mro__))
    content = {
        "__module__": ours.__module__,
        "__doc__": ours.__doc__,
        "__str__": _words,
        "__repr__": Exception.__repr__,  # redis' one needs what its __init__ would have set
    }
    return cast("type[LayerError]", cast("type", metaclass)(ours.__name__, parents, content))


def _words(self: BaseException) -> str:
    return str(self.args[0]) if self.args else ""
