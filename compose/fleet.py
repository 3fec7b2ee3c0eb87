"""Make brokers of the kind this machine can run, and start several at once."""

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

from compose.docker import DockerBroker, engine_answers
from compose.lifecycle import NAMES, Broker, BrokerError
from compose.native.kafka import KafkaRecipe
from compose.native.mqtt import MosquittoRecipe
from compose.native.postgres import PostgresRecipe
from compose.native.recipe import Recipe
from compose.native.redis import RedisRecipe
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
        name: redis, postgres, kafka or mqtt.
        password: what clients must give; redis only.
        is_for_benchmarks: let Kafka's JVM optimise fully, at the price of a slower start.
        is_detached: let it outlive this process; else it ends with it, however that ends.
        kind: how it runs, `chosen_kind()` by default.

    """
    if name not in NAMES:
        raise BrokerError(f"no broker is called {name!r}: there are {', '.join(NAMES)}")
    if password is not None and name != "redis":
        raise BrokerError(f"a password was given for {name}: only redis takes one")
    if (kind or chosen_kind()) == "docker":
        return DockerBroker(name, password=password, is_detached=is_detached)
    recipe = recipe_for(name, password=password, is_for_benchmarks=is_for_benchmarks)
    return NativeBroker(recipe, is_detached=is_detached)


def recipe_for(
    name: str, *, password: str | None = None, is_for_benchmarks: bool = False
) -> Recipe:
    """Return how the native broker `name` is run."""
    match name:
        case "redis":
            return RedisRecipe(password=password)
        case "postgres":
            return PostgresRecipe()
        case "kafka":
            return KafkaRecipe(is_for_benchmarks=is_for_benchmarks)
        case _:
            return MosquittoRecipe()


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
