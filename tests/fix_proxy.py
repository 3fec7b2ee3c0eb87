"""The proxy of `acked.conformance` as a fixture: a factory, before a broker or before a port."""

from collections.abc import Iterator
from typing import Protocol

import pytest

from acked.conformance.harness import Direction
from acked.conformance.proxy import Proxy
from compose.lifecycle import Broker

__all__ = ("Direction", "Proxies", "Proxy", "proxy")


class Proxies(Protocol):
    """Makes proxies for one test."""

    def __call__(self, target: Broker | int) -> Proxy:
        """Return a proxy before a broker, or before a loopback port."""
        ...


@pytest.fixture
def proxy() -> Iterator[Proxies]:
    """A factory of proxies, closed at the end of the test."""
    made: list[Proxy] = []

    def make(target: Broker | int) -> Proxy:
        if isinstance(target, Broker):
            route = target.route
            one = Proxy(route.target, listen_port=route.listen, target_url=target.url)
        else:
            one = Proxy(target)
        made.append(one)
        return one

    yield make
    for one in made:
        one.close()
