"""Jars that Maven fetches for servers that are written in Java: once for each machine."""

import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from compose.cache import cache_folder
from compose.lifecycle import BrokerUnavailableError
from compose.recipe import program, run

_PACKAGES = {"java": "default-jre-headless", "javac": "default-jdk-headless", "mvn": "maven"}


@dataclass(frozen=True)
class Jars:
    """What the POM of server `name` names, with the version of the property `name.version`."""

    name: str
    pom: Path
    runs_by: str = "java"
    """The program that it takes to run the server, beside Maven to fetch it."""

    @property
    def version(self) -> str:
        """The version that the POM pins."""
        found = re.search(rf"<{self.name}\.version>(.+)</", self.pom.read_text())
        if found is None:
            raise BrokerUnavailableError(f"{self.pom} has no <{self.name}.version>: put it back")
        return found[1]

    @property
    def folder(self) -> Path:
        """The folder of the jars, whether it exists yet or not."""
        return cache_folder() / f"{self.name}-{self.version}"

    def found(self) -> str:
        """Return the version of the jars in the cache; raise where there are none."""
        if not self.folder.is_dir():
            raise BrokerUnavailableError(
                f"{self.name}: its jars are not in {self.folder}:"
                f" run `python compose/brokers.py install {self.name}`"
            )
        return self.version

    def missing(self) -> list[str]:
        """Return the packages of Java and, as long as the jars are missing, of Maven."""
        tools = [self.runs_by] if self.folder.is_dir() else [self.runs_by, "mvn"]
        return [_PACKAGES[tool] for tool in tools if shutil.which(tool) is None]

    def fetch(self) -> list[str]:
        """Let Maven copy the jars; the folder appears complete or not at all."""
        target = self.folder
        if target.is_dir():
            return []
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f"{self.name}-jars-") as text:
            folder = Path(text)
            # Maven writes beside the POM unless it is told not to; the POM's folder is under git.
            pom = Path(shutil.copy(self.pom, folder / "pom.xml"))
            jars = folder / "jars"
            run(
                [
                    *(program("mvn", self.name), "-q", "-B", "-Dstyle.color=never"),
                    *("-f", str(pom), "dependency:copy-dependencies"),
                    *(f"-DoutputDirectory={jars}", "-DincludeScope=runtime"),
                ],
                doing=f"fetching the jars of {self.name} with `mvn dependency:copy-dependencies`",
                timeout=600,
            )
            jars.rename(target)
        return [f"{self.name} {self.version} jars"]
