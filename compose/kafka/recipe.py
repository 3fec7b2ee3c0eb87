"""Apache Kafka from its jars as a private process: a broker that is a controller too (KRaft)."""

import base64
import signal
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from compose.jars import Jars
from compose.lifecycle import Route
from compose.recipe import CONFIGURATION, Site, program, run

JARS = Jars("kafka", CONFIGURATION / "kafka" / "pom.xml")


@dataclass(frozen=True)
class Node:
    """One node of a cluster: its number from 1, the cluster's id, and every controller's port."""

    number: int
    cluster: str
    controllers: tuple[int, ...]


@dataclass(frozen=True)
class KafkaRecipe:
    """Kafka that starts fast; for benchmarks, one that then runs fast.

    It is alone unless it is a `node`. `heap` is in MiB. `more` are further lines of its
    configuration; the last word on a setting counts. `scram` are users as the storage tool takes
    them: "SCRAM-SHA-256=[name=ann,password=secret]".
    """

    is_for_benchmarks: bool = False
    heap: int = 512
    node: Node | None = None
    more: tuple[str, ...] = ()
    scram: tuple[str, ...] = ()
    name: ClassVar[str] = "kafka"
    default_port: ClassVar[int] = 9092
    # For clients, for the controller, and the two of the route for a proxy.
    port_count: ClassVar[int] = 4
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    end_signal: ClassVar[signal.Signals] = signal.SIGKILL

    def version(self) -> str:
        """Return the version of the jars in the cache."""
        return JARS.found()

    def missing(self) -> list[str]:
        """Return the packages of Java and, as long as the jars are missing, of Maven."""
        return JARS.missing()

    def fetch(self) -> list[str]:
        """Let Maven copy the jars; the folder appears complete or not at all."""
        return JARS.fetch()

    def account(self) -> str | None:
        """Run as whoever runs the tests."""
        return None

    def prepare(self, site: Site) -> None:
        """Write the configuration and format the storage."""
        port, controller, target, listen = site.ports
        node = self.node or Node(1, new_cluster_id(), (controller,))
        controller = node.controllers[node.number - 1]
        at = "127.0.0.1"
        shared = (CONFIGURATION / "kafka" / "server.properties").read_text()
        voters = [f"{n}@{at}:{voter}" for n, voter in enumerate(node.controllers, 1)]
        lines = [
            f"node.id={node.number}",
            f"controller.quorum.voters={','.join(voters)}",
            f"listeners=PLAINTEXT://{at}:{port},PROXIED://{at}:{target},CONTROLLER://{at}:{controller}",
            f"advertised.listeners=PLAINTEXT://{at}:{port},PROXIED://{at}:{listen}",
            f"log.dirs={site.folder / 'data'}",
            *self.more,
        ]
        _properties(site).write_text(shared + "\n".join(lines) + "\n")
        tool = [*_java("-Xmx128m", is_quick=True), "kafka.tools.StorageTool"]
        users = [word for user in self.scram for word in ("--add-scram", user)]
        run(
            [*tool, "format", "-t", node.cluster, "-c", str(_properties(site)), *users],
            doing="formatting Kafka's storage",
        )

    def command(self, site: Site) -> list[str]:
        """Run the server in the foreground."""
        java = _java(
            f"-Xmx{self.heap}m", f"-Xms{self.heap // 2}m", is_quick=not self.is_for_benchmarks
        )
        return [*java, "kafka.Kafka", str(_properties(site))]

    def is_ready(self, site: Site) -> bool:
        """Look for the line that says so: the port opens before the broker may take work."""
        return "Kafka Server started" in site.log()

    def url(self, site: Site) -> str:
        """Return a `kafka://` URL."""
        return f"kafka://127.0.0.1:{site.port}"

    def route(self, site: Site) -> Route:
        """Let a proxy listen where the second listener is advertised."""
        return Route(site.ports[2], site.ports[3])


def new_cluster_id() -> str:
    """Return an id for a new cluster: it must not start with a dash, the tool reads options so."""
    return base64.urlsafe_b64encode(b"acked" + uuid.uuid4().bytes[5:]).decode().rstrip("=")


def _properties(site: Site) -> Path:
    return site.folder / "server.properties"


def _java(*options: str, is_quick: bool) -> list[str]:
    return [
        program("java", "kafka"),
        *options,
        "-XX:+UseSerialGC",
        # Else each JVM leaves a file in the temporary folder when it is killed.
        "-XX:-UsePerfData",
        *(["-XX:TieredStopAtLevel=1"] if is_quick else []),
        f"-Dlog4j2.configurationFile={CONFIGURATION / 'kafka' / 'log4j2.properties'}",
        "-cp",
        f"{JARS.folder}/*",
    ]


RECIPE = KafkaRecipe
