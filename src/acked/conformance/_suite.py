"""The laws on the layer that `pytest --acked-layer URL` names: those that need no hooks."""

from urllib.parse import urlsplit

import pytest

from acked import ConfigurationError
from acked.abc import AckLayer, Layer
from acked.conformance.harness import Harness
from acked.conformance.laws.ack import AckLayerLaws
from acked.conformance.laws.fire_and_forget import FireAndForgetLaws
from acked.conformance.plugin import Laws, layer_of

__all__ = ("TestLayer",)

IN_PROCESS = frozenset({"memory", "memory-queue"})
"""Schemes of layers that are their own broker, and so known to nobody else."""


class UrlHarness(Harness):
    """A broker that is known by its URL alone."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.shares_layer = urlsplit(url).scheme in IN_PROCESS
        self._shared = layer_of(url)
        self.url = None if self.shares_layer else url

    def layer(self) -> Layer:
        """Return the only layer, or a new one over the broker."""
        return self._shared if self.shares_layer else layer_of(self._url)


def chosen() -> str:
    """Return the URL of the layer to try."""
    if Laws.chosen_url is None:
        raise ConfigurationError("which layer? run pytest with --acked-layer URL")
    return Laws.chosen_url


LAWS = AckLayerLaws if isinstance(layer_of(chosen()), AckLayer) else FireAndForgetLaws


class TestLayer(LAWS):  # type: ignore[valid-type,misc]  # which of the two is known now, not before
    """The laws on the layer that was named."""

    @pytest.fixture
    def harness(self) -> UrlHarness:
        """Return the layer's harness."""
        return UrlHarness(chosen())
