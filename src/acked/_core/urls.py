"""From a URL, or from whatever was given for a layer, to the layer; or to the words that help."""

import re
from importlib.metadata import EntryPoints, entry_points
from typing import Final, cast

from acked.abc import AckLayer, FireAndForgetLayer, Layer, LayerFactory
from acked.errors import CapabilityError, ConfigurationError

__all__ = ("ack_layer_from_url", "kinds_of", "stream_layer_from_url")

ENTRY_POINTS: Final = "acked.layers"

_SCHEME: Final = re.compile("([a-zA-Z][a-zA-Z0-9+.-]*):")


def kinds_of(layer: Layer) -> tuple[AckLayer | None, FireAndForgetLayer | None]:
    """Return `layer` as the kind it is; raise `ConfigurationError` for what is no layer.

    Looked at once: on Python 3.11 asking whether it is one costs more than a publish.
    """
    given: object = layer
    if isinstance(given, str):
        raise ConfigurationError("a channel is made over a layer; for a URL: Channel.from_url(url)")
    if isinstance(given, type):
        raise ConfigurationError(
            f"{given.__name__} is a class: make a layer of it, Channel({given.__name__}(...))"
        )
    acks = layer if isinstance(layer, AckLayer) else None
    stream = layer if isinstance(layer, FireAndForgetLayer) else None
    if acks is None and stream is None:
        raise ConfigurationError(
            f"{type(given).__name__} is no layer: it has neither consume() nor listen()"
        )
    return acks, stream


def ack_layer_from_url(url: str) -> AckLayer:
    """Return the ack-capable layer that `url` names; see `Channel.from_url` for what it raises."""
    layer = _layer_from_url(url)
    if isinstance(layer, AckLayer):
        return layer
    raise CapabilityError(
        f"{_scheme_of(url)}:// acknowledges nothing: say fire_and_forget=True, or choose an "
        "ack-capable layer"
    )


def stream_layer_from_url(url: str) -> FireAndForgetLayer:
    """Return the fire-and-forget layer that `url` names, as `ack_layer_from_url` does."""
    layer = _layer_from_url(url)
    if isinstance(layer, FireAndForgetLayer):
        return layer
    raise CapabilityError(
        f"{_scheme_of(url)}:// is an ack-capable layer: leave fire_and_forget= out"
    )


def _layer_from_url(url: str) -> Layer:
    """Return the layer whose entry point is called like the scheme of `url`."""
    scheme = _scheme_of(url)
    found = entry_points(group=ENTRY_POINTS)
    if not scheme or scheme not in found.names:
        raise ConfigurationError(
            f"no layer is called {scheme!r}{_meant(scheme, found)}; "
            f"installed: {', '.join(sorted(found.names))}"
        )
    return _load(scheme, found).from_url(url)


def _scheme_of(url: str) -> str:
    """Return the scheme; what follows it may be a password that makes the URL unreadable."""
    found = _SCHEME.match(url)
    return found[1].lower() if found else ""


def _load(scheme: str, found: EntryPoints) -> LayerFactory:
    point = found[scheme]
    try:
        return cast("LayerFactory", point.load())
    except ImportError as error:
        package = point.dist.name if point.dist is not None else "acked"
        raise ConfigurationError(
            f"{scheme}:// needs a package that is not installed ({error.name}); "
            f"pip install '{package}[{','.join(point.extras)}]'"
        ) from error


def _meant(scheme: str, found: EntryPoints) -> str:
    """Return which of the schemes a client's own one may stand for: a broker has several."""
    broker = scheme.removesuffix("ql")  # postgresql
    close = [name for name in sorted(found.names) if broker and name.startswith(f"{broker}-")]
    return f"; say which of its mechanisms: {' or '.join(close)}" if close else ""
