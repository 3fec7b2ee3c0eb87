"""The layer of starlette_web for a broker's URL, `memory:` for that within the process."""

import importlib
from urllib.parse import unquote, urlsplit

ROOT = "starlette_web"

WHERE = {
    "memory": ("common.channels.layers.local_memory", "InMemoryChannelLayer"),
    "redis": ("contrib.redis.channel_layers", "RedisPubSubChannelLayer"),
    "postgresql": ("contrib.postgres.channel_layers", "PostgreSQLChannelLayer"),
    "mqtt": ("contrib.mqtt.channel_layers", "MQTTChannelLayer"),
}


def layer_class(url, root=ROOT):
    module, name = WHERE[urlsplit(url).scheme]
    return getattr(importlib.import_module(f"{root}.{module}"), name)


def options(url):
    parts = urlsplit(url)
    found = {"host": parts.hostname, "port": parts.port}
    if parts.scheme == "redis":
        return found | {"db": 0}
    if parts.scheme == "postgresql":
        login = {"user": parts.username, "password": parts.password}
        found |= {name: unquote(word) for name, word in login.items() if word}
        return found | {"database": parts.path.lstrip("/")}
    return found if parts.scheme == "mqtt" else {}


def make_layer(url):
    return layer_class(url)(**options(url))
