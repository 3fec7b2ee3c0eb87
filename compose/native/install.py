"""Install what native brokers need and this machine lacks: Debian packages, and Kafka's jars."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path

from compose.cache import cache_folder
from compose.lifecycle import BrokerError, BrokerUnavailableError
from compose.native.kafka import POM, jar_folder, kafka_version
from compose.native.mqtt import MosquittoRecipe
from compose.native.postgres import PostgresRecipe
from compose.native.recipe import Recipe, program, run
from compose.native.redis import RedisRecipe

_SERVERS: dict[str, tuple[Recipe, str]] = {
    "redis": (RedisRecipe(), "redis-server"),
    "postgres": (PostgresRecipe(), "postgresql"),
    "mqtt": (MosquittoRecipe(), "mosquitto"),
}
_JAVA_TOOLS = {"java": "default-jre-headless", "mvn": "maven"}
TOOLS = {"chromium": ("chromium", "fonts-dejavu-core")}
"""Programs that tests need besides brokers, and the packages that hold them."""
_POLICY = Path("/usr/sbin/policy-rc.d")


@contextmanager
def locked(name: str) -> Generator[None]:
    """Hold the lock `name` of this machine's cache: two runs must not do the same at once."""
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def install(names: Iterable[str]) -> list[str]:
    """Install what is missing for the brokers and tools `names`; return what was installed.

    Raises:
        BrokerError: it cannot be installed here; the message says how else to get it.

    """
    wanted = list(names)
    with locked("install"):
        packages = _missing_packages(wanted)
        if packages:
            _install_packages(packages)
        fetched = "kafka" in wanted and not jar_folder().is_dir()
        if fetched:
            _fetch_jars()
    return [*packages, *([f"kafka {kafka_version()} jars"] if fetched else [])]


def _missing_packages(names: list[str]) -> list[str]:
    missing: list[str] = []
    for name in names:
        if name in _SERVERS:
            recipe, package = _SERVERS[name]
            try:
                recipe.version()
            except BrokerUnavailableError:
                missing.append(package)
    for name in names:
        if name in TOOLS and shutil.which(name) is None:
            missing += TOOLS[name]
    if "kafka" in names:
        tools = ["java"] if jar_folder().is_dir() else list(_JAVA_TOOLS)
        missing += [_JAVA_TOOLS[tool] for tool in tools if shutil.which(tool) is None]
    return missing


def _install_packages(packages: list[str]) -> None:
    command = " ".join(["apt-get install", *packages])
    if shutil.which("apt-get") is None:
        raise BrokerError(
            f"not installed and no apt-get here: {' '.join(packages)}; install what they hold"
            " by this system's own means, or start a Docker engine"
        )
    if os.geteuid() != 0:
        raise BrokerError(f"not installed, and only root may: run `sudo {command}`")
    quietly = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"]
    run([*quietly, "update"], doing="apt-get update", timeout=300)
    with _no_services_started():
        run(
            [*quietly, "install", "--yes", "--no-install-recommends", *packages],
            doing=command,
            timeout=900,
        )


@contextmanager
def _no_services_started() -> Generator[None]:
    """Keep the packages from starting services of their own: only private ones are wanted."""
    if _POLICY.exists():
        # Somebody has already said what may start; a container image usually says: nothing.
        yield
        return
    _POLICY.write_text("#!/bin/sh\nexit 101\n")
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink(missing_ok=True)


def _fetch_jars() -> None:
    """Let Maven copy the jars; the folder appears complete or not at all."""
    target = jar_folder()
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="kafka-jars-") as text:
        folder = Path(text)
        # Maven writes beside the POM unless it is told not to; the POM's folder is under git.
        pom = Path(shutil.copy(POM, folder / "pom.xml"))
        jars = folder / "jars"
        run(
            [
                *(program("mvn", "kafka"), "-q", "-B", "-Dstyle.color=never", "-f", str(pom)),
                *("dependency:copy-dependencies", f"-DoutputDirectory={jars}"),
                "-DincludeScope=runtime",
            ],
            doing="fetching Kafka's jars with `mvn dependency:copy-dependencies`",
            timeout=600,
        )
        jars.rename(target)
