"""A server that somebody else runs, named by `ACKED_TEST_REDIS_URL` and its like."""

import os
import socket
from urllib.parse import urlsplit

from compose.catalogue import recipe_for
from compose.lifecycle import Broker, BrokerError, BrokerUnavailableError


def variable(name: str) -> str:
    """Return the environment variable that names the URL of broker `name`."""
    return f"ACKED_TEST_{name.upper()}_URL"


class ExternalBroker(Broker):
    """A server that is used as it is: it can be neither stopped nor killed."""

    def __init__(self, name: str, url: str) -> None:
        parts = urlsplit(url)
        super().__init__(name, parts.port or recipe_for(name).default_port)
        self._host = parts.hostname or "127.0.0.1"
        self._url = url

    @classmethod
    def from_environment(cls, name: str) -> "ExternalBroker | None":
        """Return the server that the environment names for `name`, or None."""
        url = os.environ.get(variable(name))
        return cls(name, url) if url else None

    @property
    def url(self) -> str:
        """The URL as the environment gave it."""
        return self._url

    @property
    def version(self) -> str:
        """Tell whose server it is: its version is not known without a client."""
        return f"from {variable(self.name)}"

    @property
    def is_running(self) -> bool:
        """Whether the port takes connections."""
        try:
            socket.create_connection((self._host, self.port), timeout=3).close()
        except OSError:
            return False
        return True

    def start(self) -> None:
        """Check that the server takes connections."""
        if not self.is_running:
            raise BrokerUnavailableError(
                f"{variable(self.name)} names {self._host}:{self.port}, where no server takes"
                " connections: start it, or unset the variable to have one started"
            )

    def stop(self) -> None:
        """Refuse: the server is not ours."""
        raise self._not_ours()

    def kill(self) -> None:
        """Refuse: the server is not ours."""
        raise self._not_ours()

    def pause(self) -> None:
        """Refuse: the server is not ours."""
        raise self._not_ours()

    def resume(self) -> None:
        """Refuse: the server is not ours."""
        raise self._not_ours()

    def close(self) -> None:
        """Do nothing: the server stays as it was."""

    def _not_ours(self) -> BrokerError:
        return BrokerError(
            f"the {self.name} server from {variable(self.name)} is not ours to stop or pause:"
            " a test that does so asks for a private broker"
        )
