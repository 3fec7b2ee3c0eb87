"""`python -m benchmarks.peers [NAME ...]`: see `__init__.py`."""

import argparse

from benchmarks.peers import LIBRARIES, environment_of
from compose.environments import EnvironmentUnavailableError


def main() -> None:
    """Make environments, and install the peers; go on with the next where one cannot be had."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *LIBRARIES], metavar="NAME")
    missing = 0
    for name in parser.parse_args().names or LIBRARIES:
        try:
            print(f"{name}: {environment_of(name).python()}", flush=True)
        except EnvironmentUnavailableError as error:
            missing += 1
            print(f"{name}: cannot be installed: {error}", flush=True)
    raise SystemExit(missing > 0)


if __name__ == "__main__":
    main()
