"""One process of an app: from its name to its end, and what the orchestrator hears of it."""

import os
import signal
import sys
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import Final

import anyio
from anyio.abc import SocketStream

from acked import AckedError, App, ConfigurationError

__all__ = ("SUPERVISED", "app_named", "run_app")

SUPERVISED: Final = "ACKED_SUPERVISED"
"""In the environment of a process that ends with its supervisor: its standard input tells."""
PATIENCE: Final = 5.0
"""Seconds that a probe has to ask."""


def app_named(target: str) -> App:
    """Return the app that `module:name` names, found from the current folder on.

    Raises `ConfigurationError` for what is none.
    """
    module, _, name = target.partition(":")
    if not module or not name:
        raise ConfigurationError(f"{target!r} names no app: write module:name, as in shop:app")
    sys.path.insert(0, str(Path.cwd()))
    try:
        found = getattr(import_module(module), name, None)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise
        raise ConfigurationError(f"there is no module {module!r} here") from error
    if not isinstance(found, App):
        raise ConfigurationError(f"{name!r} of module {module!r} is no App")
    return found


def run_app(app: App, *, port: int | None) -> None:
    """Run `app` until SIGTERM or SIGINT; a second one ends this process at once."""
    if os.environ.get(SUPERVISED):
        threading.Thread(target=_end_with_supervisor, daemon=True).start()
    anyio.run(_run, app, port)


async def _run(app: App, port: int | None) -> None:
    failure: AckedError | None = None
    async with _answering(app, port), anyio.create_task_group() as tasks:
        tasks.start_soon(_stop_on_signal, app)
        try:
            await app.run()
        except AckedError as error:  # raised out here it is no group of one
            failure = error
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def _stop_on_signal(app: App) -> None:
    asked = False
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for number in signals:
            if asked:
                os._exit(128 + number)
            asked = True
            app.stop()


@asynccontextmanager
async def _answering(app: App, port: int | None) -> AsyncGenerator[None]:
    """Answer `GET /live` and `GET /ready` on `port`, also while draining."""
    if port is None:
        yield
        return

    async def answer(stream: SocketStream) -> None:
        async with stream:
            with anyio.move_on_after(PATIENCE):
                try:
                    asked, *_ = (await stream.receive(1024)).split(b" HTTP/")
                    states = {b"GET /live": app.is_live, b"GET /ready": app.is_ready}
                    await stream.send(_response(states.get(asked)))
                except (anyio.BrokenResourceError, anyio.EndOfStream):
                    return  # who asks so gets no answer

    async with (
        await anyio.create_tcp_listener(local_port=port) as listener,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, answer)
        yield
        tasks.cancel_scope.cancel()


def _response(state: bool | None) -> bytes:  # noqa: FBT001 - a fact, no option
    status = {True: "200 OK", False: "503 Service Unavailable", None: "404 Not Found"}[state]
    return f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()


def _end_with_supervisor() -> None:
    while os.read(0, 1024):  # not by sys.stdin: its lock, held at the end, is a fatal error
        pass
    os.kill(os.getpid(), signal.SIGTERM)
