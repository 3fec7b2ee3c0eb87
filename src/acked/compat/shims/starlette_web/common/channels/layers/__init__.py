"""As in starlette_web; see the package's own words."""

from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)
