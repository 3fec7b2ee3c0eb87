"""Further MQTT servers, from their jars: a folder of each has its POM, configuration and class.

The layer's tests ask them the same as Mosquitto: what one broker does, another need not.
"""

import signal
from dataclasses import dataclass
from typing import ClassVar

from compose.jars import Jars
from compose.lifecycle import Route
from compose.recipe import CONFIGURATION, Site, program

# What HiveMQ reaches into the JVM for; others ignore it.
_OPENED = (
    "--add-opens=java.base/java.lang=ALL-UNNAMED",
    "--add-opens=java.base/java.nio=ALL-UNNAMED",
    "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
    "--add-opens=jdk.management/com.sun.management.internal=ALL-UNNAMED",
    "--add-exports=java.base/jdk.internal.misc=ALL-UNNAMED",
)


@dataclass(frozen=True)
class JavaMQTTRecipe:
    """An MQTT server in a JVM; the class that starts it is compiled at each start."""

    name: ClassVar[str]
    default_port: ClassVar[int] = 1883
    port_count: ClassVar[int] = 1
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    end_signal: ClassVar[signal.Signals] = signal.SIGKILL

    def version(self) -> str:
        """Return the version of the jars in the cache."""
        program("javac", self.name)
        return self._jars().found()

    def missing(self) -> list[str]:
        """Return the packages of Java and Maven."""
        return self._jars().missing()

    def fetch(self) -> list[str]:
        """Let Maven copy the jars."""
        return self._jars().fetch()

    def account(self) -> str | None:
        """Run as whoever runs the tests."""
        return None

    def prepare(self, site: Site) -> None:
        """Write the configuration."""
        for name in ("conf", "data", "extensions"):
            (site.folder / name).mkdir()
        shared = (CONFIGURATION / "mqtt" / self.name / "config.xml").read_text()
        filled = shared.replace("PORT", str(site.port)).replace("FOLDER", str(site.folder))
        (site.folder / "conf" / "config.xml").write_text(filled)

    def command(self, site: Site) -> list[str]:
        """Run the server in the foreground."""
        return [
            program("java", self.name),
            *_OPENED,
            "-Xmx384m",
            "-XX:+UseSerialGC",
            # Else each JVM leaves a file in the temporary folder when it is killed.
            "-XX:-UsePerfData",
            "-XX:TieredStopAtLevel=1",
            "-cp",
            f"{self._jars().folder}/*",
            str(CONFIGURATION / "mqtt" / self.name / "Server.java"),
            str(site.folder),
        ]

    def is_ready(self, site: Site) -> bool:
        """Look for the line that the class prints."""
        return "ready for clients" in site.log()

    def url(self, site: Site) -> str:
        """Return an `mqtt://` URL."""
        return f"mqtt://127.0.0.1:{site.port}"

    def route(self, site: Site) -> Route:
        """Let a proxy listen anywhere."""
        return Route(site.port, 0)

    def _jars(self) -> Jars:
        return Jars(self.name, CONFIGURATION / "mqtt" / self.name / "pom.xml", "javac")
