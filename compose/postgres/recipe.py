"""PostgreSQL as a private process."""

import re
import shutil
import signal
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from compose.lifecycle import Route
from compose.recipe import (
    CONFIGURATION,
    Site,
    account_instead_of_root,
    ask,
    program,
    run,
    unless_found,
)

_LOGIN = b"user\0acked\0database\0postgres\0\0"
_STARTUP = struct.pack("!ii", 8 + len(_LOGIN), 196608) + _LOGIN
_TERMINATE = b"X" + struct.pack("!i", 4)


@dataclass(frozen=True)
class PostgresRecipe:
    """PostgreSQL with one superuser, `acked`, and no password."""

    name: ClassVar[str] = "postgres"
    default_port: ClassVar[int] = 5432
    port_count: ClassVar[int] = 1
    # The fast shutdown; at SIGTERM it would wait for all clients to leave.
    stop_signal: ClassVar[signal.Signals] = signal.SIGINT
    # The immediate shutdown: like a crash, but it gives its shared memory back.
    end_signal: ClassVar[signal.Signals] = signal.SIGQUIT

    def version(self) -> str:
        """Return the version of the installed `postgres`."""
        words = run([_program("postgres"), "--version"], doing="asking postgres for its version")
        found = re.search(r"\d+(\.\d+)+", words)
        return found[0] if found else words.strip()

    def missing(self) -> list[str]:
        """Return the package of the server, unless it is installed."""
        return unless_found(self.version, "postgresql")

    def account(self) -> str | None:
        """Run as `postgres` when root, whom the server refuses."""
        return account_instead_of_root("postgres")

    def prepare(self, site: Site) -> None:
        """Make the data folder."""
        data = site.folder / "data"
        data.mkdir(0o700)
        if account := self.account():
            shutil.chown(data, account, account)
        run(
            [
                *(_program("initdb"), "-D", str(data), "-U", "acked", "--auth=trust"),
                *("--encoding=UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions"),
            ],
            doing="initdb",
            user=self.account(),
        )
        shared = (CONFIGURATION / "postgres" / "postgresql.conf").read_text()
        own = (
            f"\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = ''\nport = {site.port}\n"
        )
        with (data / "postgresql.conf").open("a") as configuration:
            configuration.write(shared + own)

    def command(self, site: Site) -> list[str]:
        """Run the server in the foreground."""
        return [_program("postgres"), "-D", str(site.folder / "data")]

    def is_ready(self, site: Site) -> bool:
        """Try to log in, which a server that still starts or recovers refuses."""
        return ask(site.port, _STARTUP + _TERMINATE).startswith(b"R")

    def url(self, site: Site) -> str:
        """Return a `postgresql://` URL."""
        return f"postgresql://acked@127.0.0.1:{site.port}/postgres"

    def route(self, site: Site) -> Route:
        """Let a proxy listen anywhere."""
        return Route(site.port, 0)


def _program(name: str) -> str:
    # Debian keeps the server's programs off the path, one folder for each major version.
    def major(folder: Path) -> int:
        digits = folder.parent.name
        return int(digits) if digits.isdigit() else 0

    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=major, reverse=True)
    return program(name, "postgres", *folders)


RECIPE = PostgresRecipe
