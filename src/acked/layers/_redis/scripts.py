"""Scripts for the server, kept in `.lua` files, and where in them an error arose."""

import hashlib
import re
from collections.abc import Awaitable, Callable, Sequence
from importlib.resources.abc import Traversable
from typing import Final, NamedTuple, TypeAlias

from redis.exceptions import NoScriptError

from acked.errors import LayerError

__all__ = ("Run", "Script", "ScriptCall", "load_script", "run_scripts")

_Exchange: TypeAlias = Callable[[Sequence[Sequence[bytes]]], Awaitable[list[object]]]
"""Sends commands and returns a reply for each; a `LayerError` where it is one."""

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


Run: TypeAlias = Callable[[Sequence[ScriptCall]], Awaitable[list[object]]]
"""Runs scripts and returns a reply for each; a `LayerError` where it is one."""


async def run_scripts(exchange: _Exchange, calls: Sequence[ScriptCall]) -> list[object]:
    """Run scripts by their digests, and by their sources where the server forgot them."""
    if not calls:  # no connection is waited for
        return []
    replies = await exchange([call.by_digest() for call in calls])
    unknown = [i for i, reply in enumerate(replies) if _is_unknown_script(reply)]
    if unknown:
        try:
            again = await exchange([calls[i].by_source() for i in unknown])
        except LayerError as error:
            again = [error] * len(unknown)
        for i, reply in zip(unknown, again, strict=True):
            replies[i] = reply
    for call, reply in zip(calls, replies, strict=True):
        if isinstance(reply, LayerError):
            reply.args = (call.script.located(str(reply)),)
    return replies


def _is_unknown_script(reply: object) -> bool:
    return isinstance(reply, LayerError) and isinstance(reply.__cause__, NoScriptError)


def load_script(folder: Traversable, name: str, constants: dict[str, str]) -> Script:
    """Return the script `name` of `folder`, behind `constants` and the files that it uses.

    A line `-- uses: now wake` in it names those, without their endings.
    """
    file = f"{name}.lua"
    text = (folder / file).read_text()
    used = [f"{part}.lua" for found in _USES.findall(text) for part in found.split()]
    known = "".join(f"local {word} = '{value}'\n" for word, value in constants.items())
    return Script({"constants": known} | {one: (folder / one).read_text() for one in (*used, file)})
