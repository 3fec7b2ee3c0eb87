"""Which modules of channels has the package, and which classes of their own have these?"""

import importlib
import inspect

from _stage import play
from starlette_web.common import channels  # noqa: F401 - so that it is found as a scenario

MODULES = (
    "common.channels.base",
    "common.channels.event",
    "common.channels.exceptions",
    "common.channels.layers.base",
    "common.channels.layers.local_memory",
    "contrib.redis.channel_layers",
    "contrib.postgres.channel_layers",
    "contrib.mqtt",
    "contrib.mqtt.channel_layers",
)


async def main():
    found = {}
    for name in MODULES:
        module = importlib.import_module(f"starlette_web.{name}")
        found[name] = sorted(
            name
            for name, one in inspect.getmembers(module, inspect.isclass)
            if one.__module__ == module.__name__ or one.__module__.startswith("acked")
        )
    return found


play(main)
