"""Install what native brokers need and this machine lacks: packages, and what recipes fetch."""

import fcntl
import os
import shutil
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path

from compose.cache import cache_folder
from compose.catalogue import recipe_for
from compose.lifecycle import BrokerError
from compose.recipe import Fetches, run

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
    recipes = [recipe_for(name) for name in wanted if name not in TOOLS]
    tools = [name for name in wanted if name in TOOLS and shutil.which(name) is None]
    with locked("install"):
        packages = [package for recipe in recipes for package in recipe.missing()]
        packages += [package for tool in tools for package in TOOLS[tool]]
        if packages:
            _install_packages(packages)
        fetched = [
            one for recipe in recipes if isinstance(recipe, Fetches) for one in recipe.fetch()
        ]
    return [*packages, *fetched]


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
