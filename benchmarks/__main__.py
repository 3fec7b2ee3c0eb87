"""`python -m benchmarks NAME [--quick] [--json FILE]`."""

import argparse
from pathlib import Path

from benchmarks import (
    drop_in,
    engine,
    fan_out,
    kafka,
    mqtt,
    postgres,
    postgres_queue,
    redis_pubsub,
    redis_streams,
)

BENCHMARKS = {
    "drop_in": drop_in.run,
    "engine": engine.run,
    "fan_out": fan_out.run,
    "kafka": kafka.run,
    "mqtt": mqtt.run,
    "postgres": postgres.run,
    "postgres_queue": postgres_queue.run,
    "redis_pubsub": redis_pubsub.run,
    "redis_streams": redis_streams.run,
}


def main() -> None:
    """Run one benchmark and print what it came to."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", choices=sorted(BENCHMARKS))
    parser.add_argument("--quick", action="store_true", help="fewer messages, fewer rounds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    arguments = parser.parse_args()
    report = BENCHMARKS[arguments.name](quick=arguments.quick)
    print(report.show())
    if arguments.json is not None:
        report.write(arguments.json)


main()
