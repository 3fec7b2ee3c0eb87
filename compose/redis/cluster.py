"""Redis Cluster as private processes: three masters on loopback ports, without replicas."""

from compose.lifecycle import BrokerError
from compose.native.process import free_ports, wait_until
from compose.native.server import NativeBroker
from compose.recipe import ask, program, run
from compose.redis.recipe import RedisRecipe

_READY_WITHIN = 30.0
_MASTERS = 3


class RedisCluster:
    """Three masters that share all slots. Each is a broker that may be killed and started again."""

    def __init__(self) -> None:
        self.nodes = [NativeBroker(_node(port)) for port in free_ports(_MASTERS)]
        self._is_made = False

    def start(self) -> None:
        """Start all nodes, and wait until the cluster serves every slot."""
        tool = program("redis-cli", "redis")
        for node in self.nodes:
            node.start()
        if not self._is_made:
            addresses = [f"127.0.0.1:{node.port}" for node in self.nodes]
            create = [tool, "--cluster", "create", *addresses, "--cluster-yes"]
            run(create, doing="making a Redis Cluster")
            self._is_made = True
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """Return when every node says that the cluster serves every slot."""
        if not wait_until(lambda: all(map(_is_ready, self.nodes)), _READY_WITHIN):
            raise BrokerError(f"the Redis Cluster was not ready within {_READY_WITHIN:.0f} s")

    def close(self) -> None:
        """End the nodes and delete their data."""
        for node in self.nodes:
            node.close()


def _node(bus_port: int) -> RedisRecipe:
    return RedisRecipe(
        more=(
            "cluster-enabled yes",
            "cluster-config-file nodes.conf",
            "cluster-node-timeout 2000",
            f"cluster-port {bus_port}",
        )
    )


def _is_ready(node: NativeBroker) -> bool:
    return b"cluster_state:ok" in ask(node.port, b"CLUSTER INFO\r\n")


CLUSTER = RedisCluster
