"""`kafka://`: topics, all of them read by one consumer, without any group."""

from collections.abc import Sequence
from typing import ClassVar
from urllib.parse import urlsplit

from aiokafka import errors  # pyright: ignore[reportMissingTypeStubs] - it has none

from acked import ConfigurationError
from acked.compat._source import Driver, OnLoss
from acked.compat.broadcaster._base import TextSource
from acked.layers.kafka import KafkaTail

__all__ = ("KafkaBackend",)


class KafkaBackend(TextSource):
    """News over Kafka; of several URLs all are servers of one cluster.

    Credentials and options are the first URL's. A topic that does not exist is created, with one
    partition unless `?create_topics=` says another number.
    """

    driver: ClassVar[Driver] = Driver((errors.KafkaConnectionError,), (errors.KafkaError,))

    def __init__(self, urls: str | Sequence[str], on_loss: OnLoss = "reconnect") -> None:
        parts = [urlsplit(url) for url in ([urls] if isinstance(urls, str) else urls)]
        if not parts:
            raise ConfigurationError("KafkaBackend(urls=[]) names no server: kafka://host:port")
        login, at, _ = parts[0].netloc.rpartition("@")
        servers = ",".join(one.netloc.rpartition("@")[2] for one in parts)
        # Of an option that is there twice the last one counts.
        self._url = f"kafka://{login}{at}{servers}?create_topics=1&{parts[0].query}"
        super().__init__(KafkaTail.from_url, self._url, on_loss)
