"""The errors of the original that its channels raise."""

from acked.compat._errors import BaseApplicationError, NotSupportedError

__all__ = ("BaseApplicationError", "ImproperlyConfigured", "NotSupportedError")


class ImproperlyConfigured(BaseApplicationError):
    """An option is wrong."""

    message = "Application is configured improperly."
