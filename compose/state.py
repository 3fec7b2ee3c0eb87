"""The brokers that `up` left running, so that `down`, `status` and `urls` find them.

One file for each checkout, in the cache folder: outside git, and not swept like a temporary one.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from compose.cache import cache_folder
from compose.catalogue import recipe_for
from compose.docker import DockerBroker
from compose.fleet import Kind
from compose.native.server import NativeBroker, NativeRecord

Running = NativeBroker | DockerBroker


@dataclass(frozen=True)
class _Entry:
    """One broker in the file."""

    kind: Kind
    url: str
    record: dict[str, Any]


def state_path() -> Path:
    """Return the path of this checkout's state file."""
    checkout = Path(__file__).resolve().parent.parent
    mark = hashlib.sha256(str(checkout).encode()).hexdigest()[:12]
    return cache_folder() / f"brokers-{mark}.json"


def load() -> dict[str, Running]:
    """Return the brokers that were left running, by name; some may have died since."""
    try:
        entries: dict[str, dict[str, Any]] = json.loads(state_path().read_text())
    except FileNotFoundError:
        return {}
    return {name: _adopt(name, _Entry(**entry)) for name, entry in entries.items()}


def save(brokers: dict[str, Running]) -> None:
    """Write down `brokers`; without any there is no file."""
    path = state_path()
    if not brokers:
        path.unlink(missing_ok=True)
        return
    entries = {name: asdict(_entry(broker)) for name, broker in brokers.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps(entries, indent=2) + "\n")
    draft.replace(path)


def _entry(broker: Running) -> _Entry:
    kind: Kind = "native" if isinstance(broker, NativeBroker) else "docker"
    return _Entry(kind, broker.url, broker.record())


def _adopt(name: str, entry: _Entry) -> Running:
    if entry.kind == "docker":
        return DockerBroker(recipe_for(name), ports=entry.record["ports"], is_detached=True)
    return NativeBroker.adopt(recipe_for(name), NativeRecord(**entry.record))
