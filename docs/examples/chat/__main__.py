"""Serve the chat: `python -m docs.examples.chat [--layer NAME | --url URL] [--port N]`."""

import argparse
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

import uvicorn

from compose.fleet import create
from docs.examples.chat.app import LONGEST_FRAME, Limits, create_app

LAYERS: Final = {
    "memory": ("", "memory://"),
    "redis": ("redis", "redis-pubsub://"),
    "redis-streams": ("redis", "redis-streams://"),
    "postgres": ("postgres", "postgres-notify://"),
    "mqtt": ("mqtt", "mqtt://"),
}
"""For each choice the broker that it needs, and the scheme of the layer."""


@contextmanager
def broker_url(layer: str) -> Generator[str]:
    """Start a private broker for `layer`, if it needs one, and yield the layer's URL."""
    name, scheme = LAYERS[layer]
    if not name:
        yield scheme
        return
    broker = create(name)
    try:
        print(f"starting {name} ...", flush=True)
        broker.start()
        yield scheme + broker.url.partition("://")[2]
    finally:
        broker.close()


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(prog="chat", description=__doc__)
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--layer", choices=list(LAYERS), default="memory")
    chosen.add_argument("--url", help="a layer of yours, for example redis-pubsub://localhost")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--characters", type=int, default=500, help="the longest line")
    parser.add_argument("--rate", type=float, default=5.0, help="lines a second of one browser")
    arguments = parser.parse_args()
    limits = Limits(arguments.characters, arguments.rate)
    if arguments.url:
        serve(arguments.url, arguments.port, limits)
        return
    with broker_url(arguments.layer) as url:
        serve(url, arguments.port, limits)


def serve(url: str, port: int, limits: Limits) -> None:
    """Serve the chat over the layer of `url` on this machine's port `port`."""
    print(f"open http://127.0.0.1:{port} in two windows; interrupt to stop", flush=True)
    app = create_app(url, limits)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", ws_max_size=LONGEST_FRAME)


if __name__ == "__main__":
    main()
