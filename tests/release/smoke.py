"""What a user does first with a fresh installation; run by the rehearsal, outside the checkout."""

import sys
from importlib.metadata import entry_points, version
from pathlib import Path

import anyio

import acked

NUMBERS = acked.Topic("numbers", int)


async def add_up(url: str) -> int:
    """Publish three numbers, take and settle them."""
    total = 0
    async with acked.Channel.from_url(url) as channel:
        await channel.publish_many(NUMBERS, [1, 2, 3])
        async with channel.subscribe(NUMBERS, group="adders") as numbers:
            for _ in range(3):
                async with await anext(numbers) as delivery:
                    total += delivery.body
    return total


def main(expected: str) -> None:
    """Fail unless what is installed is `expected`, typed, complete, and works."""
    home = Path(acked.__file__).parent
    assert home.is_relative_to(sys.prefix), f"{home} is not the fresh installation"
    assert version("acked") == expected, version("acked")
    assert (home / "py.typed").is_file(), "the package lost its types"
    schemes = {entry.name for entry in entry_points(group="acked.layers")}
    assert {"memory", "memory-queue", "sqlite-queue"} <= schemes, schemes
    for url in ("memory-queue://", "sqlite-queue:///numbers.db"):
        assert anyio.run(add_up, url) == 6, url


if __name__ == "__main__":
    main(sys.argv[1])
