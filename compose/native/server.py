"""One server as a private process: the life of a recipe."""

import shutil
import signal
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from compose.cache import cache_folder
from compose.lifecycle import Broker, BrokerError, Route
from compose.native.guardian import GUARDIAN, delete
from compose.native.process import ServerProcess, free_ports, wait_until
from compose.recipe import Recipe, Site, telling_line

_START_TIMEOUT = 60.0
_STOP_TIMEOUT = 10.0


@dataclass(frozen=True)
class NativeRecord:
    """What another process must know to find a running server again."""

    pid: int
    born: str
    folder: str
    ports: list[int]


class NativeBroker(Broker):
    """A server as a child process on a free port, with a temporary folder for its data.

    It ends with the process that started it, however that ends, unless `is_detached`.
    """

    def __init__(self, recipe: Recipe, *, is_detached: bool = False) -> None:
        self._ports = free_ports(recipe.port_count)
        super().__init__(recipe.name, self._ports[0])
        self._recipe = recipe
        self._is_detached = is_detached
        self._site: Site | None = None
        self._process: ServerProcess | None = None

    @classmethod
    def adopt(cls, recipe: Recipe, record: NativeRecord) -> "NativeBroker":
        """Return the detached server that another process started and recorded."""
        broker = cls(recipe, is_detached=True)
        broker._ports = list(record.ports)
        broker.port = record.ports[0]
        broker._site = Site(Path(record.folder), broker._ports)
        broker._process = ServerProcess(record.pid, record.born)
        return broker

    def record(self) -> dict[str, object]:
        """Return what `adopt` needs, as plain values; only for one that was started."""
        if self._process is None or self._site is None:
            raise BrokerError(f"{self.name} was not started: nothing to record")
        process = self._process
        folder = str(self._site.folder)
        return asdict(NativeRecord(process.pid, process.born, folder, self._ports))

    @property
    def url(self) -> str:
        """The address for clients, with the password when the server asks for one."""
        return self._recipe.url(Site(Path(), self._ports))

    @property
    def version(self) -> str:
        """The version of the installed program."""
        return self._recipe.version()

    @property
    def is_running(self) -> bool:
        """Whether the server's main process is alive; a paused one is."""
        return self._process is not None and self._process.is_alive

    @property
    def pid(self) -> int | None:
        """The pid of the server's main process, or None when it does not run."""
        return self._process.pid if self._process is not None and self.is_running else None

    @property
    def cpu_seconds(self) -> float | None:
        """The processor time of the server's processes, ended ones included."""
        return self._process.cpu_seconds if self._process is not None else None

    @property
    def folder(self) -> Path | None:
        """The folder of the server's data, or None before the first start and after the close."""
        return None if self._site is None else self._site.folder

    @property
    def log_path(self) -> Path | None:
        """The log of all starts, or None before the first start."""
        return None if self._site is None else self._site.log_path

    @property
    def route(self) -> Route:
        """Where a proxy forwards to, and where it must listen."""
        return self._recipe.route(Site(Path(), self._ports))

    def start(self) -> None:
        """Start the server and wait until it answers; a no-op when it runs."""
        if self.is_running:
            return
        site = self._site or self._new_site()
        site.log_path.touch()
        site.log_start = site.log_path.stat().st_size
        self._process = ServerProcess.spawn(
            self._recipe.command(site),
            folder=site.folder,
            log_path=site.log_path,
            user=self._recipe.account(),
        )
        self._watch(site.folder, self._process)
        self._wait_until_ready(site, self._process)
        if self._is_detached:
            self._process.release()

    def stop(self) -> None:
        """Stop the server gracefully, by force after ten seconds; the data stays."""
        self._end(self._recipe.stop_signal)

    def kill(self) -> None:
        """Kill the server as a crash would; the data stays."""
        if self._process is not None:
            self._process.kill()

    def pause(self) -> None:
        """Freeze the server and its descendants."""
        if self._process is None or not self._process.freeze():
            raise BrokerError(f"{self.name} does not run and cannot be paused: start it first")

    def resume(self) -> None:
        """Let a frozen server go on."""
        if self._process is not None:
            self._process.send_to_tree(signal.SIGCONT)

    def close(self) -> None:
        """End the server and delete its folder."""
        self._end(self._recipe.end_signal)
        if self._site is not None:
            delete(self._site.folder)
            if not self._is_detached:
                GUARDIAN.forget(str(self._site.folder))
            self._site = None

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        # A frozen process takes no signal but SIGKILL.
        self._process.send_to_tree(signal.SIGCONT)
        if number is not signal.SIGKILL:
            self._process.send(number)
            self._process.wait(_STOP_TIMEOUT)
        self._process.kill()

    def _new_site(self) -> Site:
        self._recipe.version()  # raises in one line when the program is missing
        folder = Path(tempfile.mkdtemp(prefix=f"acked-{self.name}-"))
        folder.chmod(0o711)  # PostgreSQL runs as another user inside it
        self._watch(folder, None)
        site = Site(folder, self._ports)
        try:
            self._recipe.prepare(site)
        except BaseException:
            delete(folder)
            raise
        self._site = site
        return site

    def _watch(self, folder: Path, process: ServerProcess | None) -> None:
        if self._is_detached:
            return
        key = str(folder)
        if process is None:
            GUARDIAN.watch(key, {"folder": key})
            return
        GUARDIAN.watch(
            key,
            {
                "folder": key,
                "pid": process.pid,
                "born": process.born,
                "end_signal": self._recipe.end_signal,
            },
        )

    def _wait_until_ready(self, site: Site, process: ServerProcess) -> None:
        started = time.monotonic()
        wait_until(lambda: self._recipe.is_ready(site) or not process.is_alive, _START_TIMEOUT)
        if process.is_alive and self._recipe.is_ready(site):
            return
        was_alive = process.is_alive
        process.kill()
        seconds = time.monotonic() - started
        what = "did not answer within" if was_alive else "ended by itself after"
        raise BrokerError(
            f"{self.name} {what} {seconds:.1f} s on port {self.port}:"
            f" {telling_line(site.log())} (the whole log: {_kept_log(site, self.name)})"
        )


def _kept_log(site: Site, name: str) -> Path:
    """Copy the log to where it outlives the broker's folder."""
    kept = cache_folder() / f"{name}-failed-start.log"
    kept.parent.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copyfile(site.log_path, kept))
