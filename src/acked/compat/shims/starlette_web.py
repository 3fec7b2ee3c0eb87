"""`starlette_web` with the channels of `acked`; whatever else it has is found where it was."""

from acked.compat._aliases import install

install(__name__)
