"""Make brokers of the kind this machine can run, and start several at once."""

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

from compose.catalogue import recipe_for
from compose.docker import DockerBroker, engine_answers
from compose.lifecycle import Broker, BrokerError
from compose.native.server import NativeBroker

Kind = Literal["docker", "native"]


def chosen_kind() -> Kind:
    """Return how brokers run here: as `ACKED_BROKERS` says, else in Docker where it answers."""
    match os.environ.get("ACKED_BROKERS"):
        case "docker":
            return "docker"
        case "native":
            return "native"
        case None | "":
            return "docker" if engine_answers() else "native"
        case other:
            raise BrokerError(f"ACKED_BROKERS is {other!r}: say docker or native, or unset it")


def create(
    name: str,
    *,
    password: str | None = None,
    is_for_benchmarks: bool = False,
    is_detached: bool = False,
    kind: Kind | None = None,
) -> NativeBroker | DockerBroker:
    """Return a private broker, not started yet.

    Args:
        name: one of `compose.lifecycle.NAMES`.
        password: what clients must give, where the recipe takes one.
        is_for_benchmarks: let it run fast, at the price of a slower start, where that can be had.
        is_detached: let it outlive this process; else it ends with it, however that ends.
        kind: how it runs, `chosen_kind()` by default.

    """
    recipe = recipe_for(name, password=password, is_for_benchmarks=is_for_benchmarks)
    if (kind or chosen_kind()) == "docker":
        return DockerBroker(recipe, password=password, is_detached=is_detached)
    return NativeBroker(recipe, is_detached=is_detached)


def start_all(brokers: Iterable[Broker]) -> dict[str, BrokerError]:
    """Start `brokers` in parallel; return the errors of those that did not, by name.

    One that did not start is closed; the others run.
    """

    def start(broker: Broker) -> BrokerError | None:
        try:
            broker.start()
        except BrokerError as error:
            broker.close()
            return error
        return None

    several = list(brokers)
    with ThreadPoolExecutor(max_workers=max(len(several), 1)) as pool:
        results = list(pool.map(start, several))
    return {broker.name: error for broker, error in zip(several, results, strict=True) if error}


def close_all(brokers: Iterable[Broker]) -> None:
    """Close `brokers` in parallel."""

    def close(broker: Broker) -> None:
        broker.close()

    several = list(brokers)
    with ThreadPoolExecutor(max_workers=max(len(several), 1)) as pool:
        list(pool.map(close, several))
