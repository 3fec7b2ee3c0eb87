"""Overlays starlette_web: its channels are `acked`'s, whatever else there is stays as it is."""

from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)
