"""A Kafka cluster as private processes: three nodes, each a broker and a controller (KRaft)."""

from compose.fleet import close_all, start_all
from compose.kafka.recipe import KafkaRecipe, Node, new_cluster_id
from compose.native.process import free_ports
from compose.native.server import NativeBroker

_NODES = 3
_SETTINGS = (
    "default.replication.factor=3",
    "min.insync.replicas=2",
    "offsets.topic.replication.factor=3",
    "transaction.state.log.replication.factor=3",
    "transaction.state.log.min.isr=2",
)


class KafkaCluster:
    """Three nodes that replicate everything to all. Each may be killed and started again."""

    def __init__(self) -> None:
        controllers, cluster = tuple(free_ports(_NODES)), new_cluster_id()
        self.nodes = [
            NativeBroker(
                KafkaRecipe(heap=384, node=Node(number, cluster, controllers), more=_SETTINGS)
            )
            for number in range(1, _NODES + 1)
        ]

    @property
    def url(self) -> str:
        """The address of all nodes for clients."""
        return "kafka://" + ",".join(node.url.removeprefix("kafka://") for node in self.nodes)

    def start(self) -> None:
        """Start all nodes at once: none is ready before two of them elected a controller."""
        for error in start_all(self.nodes).values():
            raise error

    def close(self) -> None:
        """End the nodes and delete their data."""
        close_all(self.nodes)


CLUSTER = KafkaCluster
