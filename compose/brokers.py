"""Start, stop and look at the brokers of this checkout.

    python compose/brokers.py up NAME ...        start them (all without names), print their URLs
    python compose/brokers.py status
    env $(python compose/brokers.py urls) pytest
    python compose/brokers.py down
    python compose/brokers.py install            only install what `up` and the tests would need

In containers where a Docker engine answers, else as private processes; ACKED_BROKERS=docker or
=native decides. ACKED_CACHE is the folder for what is fetched and the record of what runs.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

if __name__ == "__main__":
    # Python put the script's own folder first, where a broker's folder hides its client library.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from compose import state
from compose.external import variable
from compose.fleet import chosen_kind, close_all, create, start_all
from compose.lifecycle import FURTHER, NAMES, BrokerError
from compose.native.install import TOOLS, install, locked
from compose.native.server import NativeBroker


def install_missing(names: list[str]) -> int:
    """Install what native brokers and the tests need; containers bring their own brokers."""
    if chosen_kind() == "docker":
        names = [name for name in names if name in {*TOOLS, *FURTHER}]
    installed = install(names)
    print("installed: " + ", ".join(installed) if installed else "nothing was missing")
    return 0


def up(names: list[str]) -> int:
    """Start those of `names` that do not run, in parallel; print the URLs of all."""
    if chosen_kind() == "native":
        install(names)
    with locked("brokers"):
        running = state.load()
        dead = [running[name] for name in names if name in running and not running[name].is_running]
        close_all(dead)
        fresh = {
            name: create(name, is_detached=True)
            for name in names
            if name not in running or running[name] in dead
        }
        try:
            errors = start_all(fresh.values())
        except BaseException:
            close_all(fresh.values())
            raise
        running |= {name: broker for name, broker in fresh.items() if name not in errors}
        state.save({name: broker for name, broker in running.items() if name not in errors})
    urls([name for name in names if name not in errors])
    for error in errors.values():
        print(f"error: {error}", file=sys.stderr)
    return 1 if errors else 0


def down(names: list[str]) -> int:
    """Stop those of `names` that run, gracefully, and delete their data."""
    with locked("brokers"):
        running = state.load()
        leaving = [running.pop(name) for name in names if name in running]
        for broker in leaving:
            broker.stop()
        close_all(leaving)
        state.save(running)
    print("stopped: " + (", ".join(broker.name for broker in leaving) or "nothing ran"))
    return 0


def status(names: list[str]) -> int:
    """Print a line for each of `names`; fail unless all run."""
    running = state.load()
    alive = {name for name, broker in running.items() if broker.is_running}
    for name in names:
        if name not in running:
            print(f"{name:9} not started")
            continue
        broker = running[name]
        how = f"pid {broker.pid}" if isinstance(broker, NativeBroker) else "docker"
        log = f"  log {broker.log_path}" if broker.log_path else ""
        word = f"running  {broker.version}  {how}" if name in alive else "dead"
        print(f"{name:9} {word}  {broker.url}{log}")
    return 0 if alive.issuperset(names) else 1


def urls(names: list[str]) -> int:
    """Print the variables that point a test run at the brokers, one a line."""
    running = state.load()
    for name in names:
        if name in running:
            print(f"{variable(name)}={running[name].url}")
    return 0


_COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "up": up,
    "down": down,
    "status": status,
    "urls": urls,
    "install": install_missing,
}


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="brokers.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=list(_COMMANDS))
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; else all")
    parsed = parser.parse_args(arguments)
    known = [*NAMES, *FURTHER, *TOOLS] if parsed.command == "install" else [*NAMES]
    unknown = [name for name in parsed.names if name not in known]
    if unknown:
        parser.error(f"no broker is called {unknown[0]!r}: there are {', '.join(known)}")
    try:
        return _COMMANDS[parsed.command](list(dict.fromkeys(parsed.names)) or known)
    except BrokerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
