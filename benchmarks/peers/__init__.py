"""What a user would pick instead, each in an environment of its own: its dependencies are not ours.

    python -m benchmarks.peers                 make them all, once, in $ACKED_CACHE/peers
    python -m benchmarks.peers procrastinate   one of them

A benchmark makes those that it asks for; a peer that cannot be installed is left out, with a word.
Its program is a module of this package, which runs in the peer's environment and imports of ours
only what needs nothing installed: `benchmarks.clock` and `benchmarks.peers.reading`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from compose.cache import cache_folder
from compose.environments import Environment

__all__ = ("LIBRARIES", "ROOT", "Library", "Peer", "environment_of")

ROOT: Final = Path(__file__).resolve().parents[2]


class Library(NamedTuple):
    """What is installed for a peer, and what it promises as it is measured here."""

    wanted: tuple[str, ...]
    promise: str


LIBRARIES: Final[Mapping[str, Library]] = {
    "aiomqtt": Library(("aiomqtt==2.5.1",), "acks before the message is read"),
    "arq": Library(
        ("arq==0.28.0",),
        "deletes a job after its handler; a job whose worker is killed is run again;"
        " polled without a pause, where the default is 200 jobs a second",
    ),
    "broadcaster": Library(
        ("broadcaster[redis]==0.3.1", "redis<8"), "no acks; queues without a bound"
    ),
    "channels_redis": Library(
        ("channels_redis==4.3.0",), "no acks; queues without a bound (its pub/sub layer)"
    ),
    "confluent_kafka": Library(
        ("confluent-kafka==2.16.1",),
        "500 at a time, each batch committed after it, unconfirmed; one by one as it commits by"
        " default, which may be before the handler is done",
    ),
    "faststream": Library(
        ("faststream[redis,kafka,cli]==0.7.8",),
        "Redis Streams: acks after the handler; what failed, and what a killed worker held, stays"
        " pending. Kafka: acks before the handler. Redis pub/sub: no acks",
    ),
    "litestar": Library(
        ("litestar==2.25.0", "redis"), "no acks; a backlog without a bound (its channels)"
    ),
    "pgmq": Library(
        ("pgmq[async]==1.1.4",),
        "acks after the handler, by the batch; the functions installed as SQL, not as an extension",
    ),
    "pgqueuer": Library(("pgqueuer==1.6.0", "asyncpg"), "acks after the handler, by the batch"),
    "procrastinate": Library(
        ("procrastinate==3.10.0", "psycopg[binary]"), "acks after the handler, one by one"
    ),
    "starlette_web": Library(
        ("starlette_web[redis]==0.1.10",),
        "no acks; a task for each message that a reader has not taken",
    ),
    "taskiq_redis": Library(
        ("taskiq-redis==1.2.4",),
        "acks after the handler, also where it raised; what a killed worker held is taken again"
        " after ten minutes",
    ),
}


def environment_of(name: str) -> Environment:
    """Return the environment of the peer called `name`."""
    return Environment(cache_folder() / "peers" / name, LIBRARIES[name].wanted)


@dataclass(frozen=True)
class Peer:
    """A contender in an environment of its own; `way` is one of those that its program knows."""

    name: str
    way: str
    fill: str | None = None
    """The way that prepares a topic for it alone, unmeasured."""

    def command(self, way: str) -> list[str]:
        """Return how it is run, from `ROOT`, before what it is to do; make its environment first.

        Raises:
            EnvironmentUnavailableError: it cannot be installed here.

        """
        python = str(environment_of(self.name).python())
        return [python, "-m", f"benchmarks.peers.on_{self.name}", way]
