"""The errors of the original that its channels raise."""

from acked.compat.starlette_web._channels import (
    BaseApplicationError,
    ImproperlyConfigured,
    NotSupportedError,
)

__all__ = ("BaseApplicationError", "ImproperlyConfigured", "NotSupportedError")
