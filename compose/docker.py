"""One broker as a container, by the service in the `compose.yaml` of its folder."""

import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

from compose.lifecycle import Broker, BrokerError, Route
from compose.native.guardian import GUARDIAN
from compose.native.process import free_ports
from compose.recipe import CONFIGURATION, Recipe, Site


@cache
def engine_answers() -> bool:
    """Whether a Docker engine runs here and its client knows `docker compose`."""
    if shutil.which("docker") is None:
        return False
    questions = (["docker", "info"], ["docker", "compose", "version"])
    try:
        return all(
            subprocess.run(words, check=False, capture_output=True, timeout=10).returncode == 0
            for words in questions
        )
    except subprocess.TimeoutExpired:
        return False


class DockerBroker(Broker):
    """A broker in a compose project of its own, named after its port.

    It ends with the process that started it, however that ends, unless `is_detached`.
    """

    def __init__(
        self,
        recipe: Recipe,
        *,
        ports: list[int] | None = None,
        password: str | None = None,
        is_detached: bool = False,
    ) -> None:
        self._ports = ports or free_ports(recipe.port_count)
        super().__init__(recipe.name, self._ports[0])
        self._recipe = recipe
        self._file = CONFIGURATION / recipe.name / "compose.yaml"
        self._password = password
        self._is_detached = is_detached
        self._project = f"acked-{recipe.name}-{self.port}"

    @property
    def url(self) -> str:
        """The address for clients, with the password when the server asks for one."""
        return self._recipe.url(Site(Path(), self._ports))

    @property
    def version(self) -> str:
        """The tag of the image."""
        found = re.search(rf"\n  {self.name}:\n    image: \S+:(\S+)", self._file.read_text())
        return found[1] if found else "unknown"

    @property
    def is_running(self) -> bool:
        """Whether the container runs or is paused."""
        states = ["--status", "running", "--status", "paused"]
        return bool(self._compose("ps", "-q", *states).strip())

    @property
    def route(self) -> Route:
        """Where a proxy forwards to, and where it must listen."""
        return self._recipe.route(Site(Path(), self._ports))

    def record(self) -> dict[str, object]:
        """Return what another process needs to find the container again."""
        return {"ports": self._ports}

    def start(self) -> None:
        """Create or start the container and wait until it is healthy."""
        if not self._is_detached:
            GUARDIAN.watch(self._project, {"command": self._command("down", "-v", "-t", "1")})
        self._compose("up", "--detach", "--wait", "--wait-timeout", "90")

    def stop(self) -> None:
        """Stop the container gracefully, by force after ten seconds; the volume stays."""
        self._compose("stop", "--timeout", "10")

    def kill(self) -> None:
        """Kill the server as a crash would; the volume stays."""
        self._compose("kill")

    def pause(self) -> None:
        """Freeze the container."""
        self._compose("pause")

    def resume(self) -> None:
        """Let a frozen container go on."""
        if self._compose("ps", "--quiet", "--status", "paused").strip():
            self._compose("unpause")

    def close(self) -> None:
        """Remove the container and its volume."""
        self._compose("down", "--volumes", "--timeout", "1")
        if not self._is_detached:
            GUARDIAN.forget(self._project)

    def _command(self, *words: str) -> list[str]:
        of_this = ["-p", self._project, "-f", str(self._file)]
        return ["docker", "compose", *of_this, *words]

    def _compose(self, *words: str) -> str:
        prefix = f"ACKED_{self.name.upper()}"
        target, listen = self.route
        ports = {"_PORT": self.port, "_TARGET_PORT": target, "_LISTEN_PORT": listen}
        own = {f"{prefix}{suffix}": str(port) for suffix, port in ports.items()}
        if self._password is not None:
            own[f"{prefix}_PASSWORD"] = self._password
        done = subprocess.run(
            self._command(*words),
            check=False,
            capture_output=True,
            text=True,
            env={**os.environ, **own},
        )
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines() or ["it said nothing"]
            raise BrokerError(
                f"{self.name}: docker compose {words[0]} failed: {lines[-1]}"
                f" (see `docker compose -p {self._project} logs`)"
            )
        return done.stdout
