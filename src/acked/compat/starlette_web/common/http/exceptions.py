"""The errors of the original that its channels raise."""

from acked.compat._errors import BaseApplicationError, ImproperlyConfigured, NotSupportedError

__all__ = ("BaseApplicationError", "ImproperlyConfigured", "NotSupportedError")
