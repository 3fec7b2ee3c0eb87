"""Redis as a private process."""

import re
import signal
from dataclasses import dataclass, field
from typing import ClassVar
from urllib.parse import quote

from compose.lifecycle import Route
from compose.recipe import CONFIGURATION, Site, ask, program, run, unless_found


@dataclass(frozen=True)
class RedisRecipe:
    """Redis that syncs every write; with `password`, one that asks for it.

    `more` are further lines of its configuration.
    """

    password: str | None = field(default=None, repr=False)
    more: tuple[str, ...] = ()
    name: ClassVar[str] = "redis"
    default_port: ClassVar[int] = 6379
    port_count: ClassVar[int] = 1
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    end_signal: ClassVar[signal.Signals] = signal.SIGKILL

    def version(self) -> str:
        """Return the version of the installed `redis-server`."""
        words = run([self._program(), "--version"], doing="asking redis-server for its version")
        found = re.search(r"v=(\S+)", words)
        return found[1] if found else words.strip()

    def missing(self) -> list[str]:
        """Return the package of the server, unless it is installed."""
        return unless_found(self.version, "redis-server")

    def account(self) -> str | None:
        """Run as whoever runs the tests."""
        return None

    def prepare(self, site: Site) -> None:
        """Write the private part of the configuration, which may hold a password."""
        lines = [
            f"include {CONFIGURATION / 'redis' / 'redis.conf'}",
            "bind 127.0.0.1",
            f"port {site.port}",
            f"dir {site.folder}",
            *self.more,
        ]
        if self.password is not None:
            lines.append(f'requirepass "{self.password}"')
        path = site.folder / "redis.conf"
        path.touch(0o600)
        path.write_text("\n".join(lines) + "\n")

    def command(self, site: Site) -> list[str]:
        """Name the configuration file only: a password in the arguments could be seen by all."""
        return [self._program(), str(site.folder / "redis.conf")]

    def is_ready(self, site: Site) -> bool:
        """Ask for a PONG, which a server that still loads its data refuses."""
        login = b"" if self.password is None else _command(b"AUTH", self.password.encode())
        return ask(site.port, login + _command(b"PING")).endswith(b"+PONG\r\n")

    def url(self, site: Site) -> str:
        """Return a `redis://` URL."""
        login = "" if self.password is None else f":{quote(self.password, safe='')}@"
        return f"redis://{login}127.0.0.1:{site.port}/0"

    def route(self, site: Site) -> Route:
        """Let a proxy listen anywhere."""
        return Route(site.port, 0)

    def _program(self) -> str:
        return program("redis-server", self.name)


def _command(*words: bytes) -> bytes:
    parts = b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)
    return b"*%d\r\n%b" % (len(words), parts)


RECIPE = RedisRecipe
