"""Scripts for the server, kept in `.lua` files, and where in them an error arose."""

import hashlib
import re
from importlib.resources.abc import Traversable
from typing import Final, NamedTuple

__all__ = ("Script", "ScriptCall", "load_script")

_LINE: Final = re.compile(r"@?user_script:(\d+)")
_USES: Final = re.compile(r"^-- uses: (.*)$", re.MULTILINE)


class Script:
    """Lua for the server, and the digest by which the server remembers it."""

    def __init__(self, files: dict[str, str]) -> None:
        """Make one script of the texts of `files`, in their order."""
        self.source: Final = "".join(files.values()).encode()
        self.digest: Final = hashlib.sha1(self.source).hexdigest().encode()  # noqa: S324 - EVALSHA
        self._files = files

    def located(self, message: str) -> str:
        """Return the server's `message` with the file and its line where it names a line."""
        return _LINE.sub(lambda found: self._place(int(found[1])), message)

    def _place(self, line: int) -> str:
        for name, text in self._files.items():
            lines = text.count("\n")
            if line <= lines:
                return f"{name}:{line}"
            line -= lines
        return f"line {line} behind the script"


class ScriptCall(NamedTuple):
    """A script with what it is called with."""

    script: Script
    keys: tuple[bytes, ...]
    arguments: tuple[bytes, ...]

    def by_digest(self) -> tuple[bytes, ...]:
        """Return the command that works where the server knows the script."""
        return (b"EVALSHA", self.script.digest, *self._rest())

    def by_source(self) -> tuple[bytes, ...]:
        """Return the command that works everywhere and teaches the server the script."""
        return (b"EVAL", self.script.source, *self._rest())

    def _rest(self) -> tuple[bytes, ...]:
        return (b"%d" % len(self.keys), *self.keys, *self.arguments)


def load_script(folder: Traversable, name: str, constants: dict[str, str]) -> Script:
    """Return the script `name` of `folder`, behind `constants` and the files that it uses.

    A line `-- uses: now wake` in it names those, without their endings.
    """
    file = f"{name}.lua"
    text = (folder / file).read_text()
    used = [f"{part}.lua" for found in _USES.findall(text) for part in found.split()]
    known = "".join(f"local {word} = '{value}'\n" for word, value in constants.items())
    return Script({"constants": known} | {one: (folder / one).read_text() for one in (*used, file)})
