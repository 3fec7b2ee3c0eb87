"""`python -m tests.crash LAYER`: break everything in mid-stream, count, print one line of JSON.

Ack-capable layers: two processes publish while the broker is restarted, the connections are cut and
one of three consumers is killed. Exit status 1 if a message was lost that was accepted.
Fire-and-forget ones: the same, and 1 if a listener missed a message of which no gap tells. Status 2:
the run could not be made. Progress is on standard error.
"""

import argparse
import json
import sys

from compose.lifecycle import BrokerError
from tests.crash.runs import LAYERS, Faults, run
from tests.crash.stage import RunError


def main() -> int:
    """Run, print, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("layer", choices=LAYERS)
    parser.add_argument("--messages", type=int, default=50_000)
    parser.add_argument("--restarts", type=int, default=3)
    parser.add_argument("--cuts", type=int, default=10)
    parser.add_argument("--kills", type=int, default=1)
    given = parser.parse_args()
    faults = Faults(given.restarts, given.cuts, given.kills)
    try:
        report, held = run(given.layer, given.messages, faults)
    except (BrokerError, RunError) as error:
        print(f"the run could not be made: {error}", file=sys.stderr)
        return 2
    print(json.dumps(report))
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
