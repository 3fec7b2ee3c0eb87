"""Which modules has the package called broadcaster, and which classes of their own have these?"""

import importlib
import inspect
import pkgutil

import broadcaster
from _stage import play


async def main():
    found = {"broadcaster": sorted(broadcaster.__all__)}
    for info in pkgutil.walk_packages(broadcaster.__path__, "broadcaster."):
        module = importlib.import_module(info.name)
        found[info.name] = sorted(
            name
            for name, one in inspect.getmembers(module, inspect.isclass)
            if one.__module__ == info.name or one.__module__.startswith("acked")
        )
    return found


play(main)
