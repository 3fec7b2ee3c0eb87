"""Mosquitto, an MQTT server, as a private process."""

import getpass
import re
import signal
from dataclasses import dataclass
from typing import ClassVar

from compose.lifecycle import Route
from compose.recipe import CONFIGURATION, Site, ask, program, run, unless_found

# CONNECT of MQTT 3.1.1 with a clean session, ten seconds keep-alive and no client identifier.
_CONNECT = b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x0a\x00\x00"
_DISCONNECT = b"\xe0\x00"


@dataclass(frozen=True)
class MosquittoRecipe:
    """Mosquitto that queues without bound and saves its sessions every second.

    `settings` are more lines for its configuration; the last word on a setting counts.
    """

    settings: tuple[str, ...] = ()

    name: ClassVar[str] = "mqtt"
    default_port: ClassVar[int] = 1883
    port_count: ClassVar[int] = 1
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    end_signal: ClassVar[signal.Signals] = signal.SIGKILL

    def version(self) -> str:
        """Return the version of the installed `mosquitto`."""
        # Printing its help is a failure to mosquitto, with exit code 3.
        words = run(["sh", "-c", f"{self._program()} -h || true"], doing="asking mosquitto")
        found = re.search(r"version (\S+)", words)
        return found[1] if found else "unknown"

    def missing(self) -> list[str]:
        """Return the package of the server, unless it is installed."""
        return unless_found(self.version, "mosquitto")

    def account(self) -> str | None:
        """Run as whoever runs the tests."""
        return None

    def prepare(self, site: Site) -> None:
        """Write the configuration; its `user` keeps root, else it would lose its own folder."""
        shared = (CONFIGURATION / "mqtt" / "mosquitto.conf").read_text()
        lines = [
            f"user {getpass.getuser()}",
            f"listener {site.port} 127.0.0.1",
            f"persistence_location {site.folder}/",
            *self.settings,
        ]
        (site.folder / "mosquitto.conf").write_text(shared + "\n".join(lines) + "\n")

    def command(self, site: Site) -> list[str]:
        """Run the server in the foreground."""
        return [self._program(), "-c", str(site.folder / "mosquitto.conf")]

    def is_ready(self, site: Site) -> bool:
        """Ask for a CONNACK that accepts."""
        return ask(site.port, _CONNECT + _DISCONNECT).startswith(b"\x20\x02\x00\x00")

    def url(self, site: Site) -> str:
        """Return an `mqtt://` URL."""
        return f"mqtt://127.0.0.1:{site.port}"

    def route(self, site: Site) -> Route:
        """Let a proxy listen anywhere."""
        return Route(site.port, 0)

    def _program(self) -> str:
        return program("mosquitto", self.name)


RECIPE = MosquittoRecipe
