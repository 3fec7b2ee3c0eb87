"""The errors of the original that its channels raise."""

__all__ = ("BaseApplicationError", "ImproperlyConfigured", "NotSupportedError")


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


class NotSupportedError(BaseApplicationError):
    """The layer cannot do what was asked of it."""

    message = "Requested action is not supported now."
