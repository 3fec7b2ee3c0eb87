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
        self.message = message or self.message
        self.details = details or self.details
        self.status_code = status_code or self.status_code
        super().__init__("\n".join(part for part in (self.message, self.details) if part))


class ImproperlyConfigured(BaseApplicationError):
    """An option is wrong."""

    message = "Application is configured improperly."


class NotSupportedError(BaseApplicationError, NotImplementedError):
    """A layer cannot do what was asked of it."""

    message = "Requested action is not supported now."
