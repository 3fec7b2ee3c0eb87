"""How a layer reaches what it is made for: one server, a cluster, or who is master just now."""

from typing import TypeAlias

from acked.errors import ConfigurationError
from acked.layers._redis.cluster import Cluster
from acked.layers._redis.connection import Connection
from acked.layers._redis.sentinel import Sentinels
from acked.layers._redis.urls import RedisUrl

__all__ = ("Client", "client_for", "refuse_both")

Client: TypeAlias = Connection | Cluster | Sentinels


def client_for(
    url: RedisUrl, *, is_cluster: bool, sentinel: str | None, timeout: float, connections: int
) -> Client:
    """Return what reaches the server of `url`: itself, or what it is a node or a sentinel of."""
    if sentinel is not None:
        return Sentinels(url, sentinel, timeout=timeout, connections=connections)
    kind = Cluster if is_cluster else Connection
    return kind(url, timeout=timeout, connections=connections)


def refuse_both(*, is_cluster: bool, sentinel: str | None, url: RedisUrl) -> None:
    """Raise `ConfigurationError` for what cannot be meant."""
    if sentinel is not None and is_cluster:
        raise ConfigurationError("a cluster has no sentinels: give cluster or sentinel, not both")
    if sentinel is not None and (url.is_socket or not sentinel):
        raise ConfigurationError(
            "sentinel is the name of a master, and the URL names host and port of a sentinel"
        )
