"""The brokers there are: each a folder here with a `recipe.py`, found and not listed.

A `recipe.py` names its `RECIPE`, beside it lie the server's configuration and, for Docker, a
`compose.yaml` with one service of the folder's name. A `cluster.py`, where there is one, names its
`CLUSTER`. Folders within are further servers of the same kind, which only tests start.
"""

from collections.abc import Callable
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Final, Protocol

from compose.lifecycle import FURTHER, NAMES, BrokerError
from compose.recipe import Recipe

CLUSTERS: Final = tuple(
    name for name in NAMES if (Path(__file__).parent / name / "cluster.py").exists()
)


class Cluster(Protocol):
    """Several servers that are one broker."""

    def start(self) -> None:
        """Start all nodes, and wait until they serve."""
        ...

    def close(self) -> None:
        """End the nodes and delete their data."""
        ...


def recipe_for(
    name: str, *, password: str | None = None, is_for_benchmarks: bool = False
) -> Recipe:
    """Return how broker `name` is run; a recipe that has no way to be quick is run as always.

    Raises:
        BrokerError: there is no such broker, or it takes no password.

    """
    if name not in {*NAMES, *FURTHER}:
        raise BrokerError(f"no broker is called {name!r}: there are {', '.join(NAMES)}")
    path = f"{FURTHER[name]}.{name}" if name in FURTHER else name
    kind: Callable[..., Recipe] = import_module(f"compose.{path}.recipe").RECIPE
    known = signature(kind).parameters
    if password is not None and "password" not in known:
        raise BrokerError(f"a password was given for {name}, which takes none")
    options = {"password": password, "is_for_benchmarks": is_for_benchmarks}
    return kind(**{option: given for option, given in options.items() if option in known})


def new_cluster(name: str) -> Cluster:
    """Return a cluster of broker `name`, not started yet."""
    kind: Callable[[], Cluster] = import_module(f"compose.{name}.cluster").CLUSTER
    return kind()
