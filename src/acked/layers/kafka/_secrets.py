"""Passwords and tokens that change, as aiokafka asks for them: once for each connection.

aiokafka goes on after an error of its own, and its tasks end over any other: so a function of the
user's that fails becomes one. And aiokafka takes every answer to a token for a welcome: a broker
that refuses one says so in a challenge (RFC 7628), which it does not read.
"""

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, cast

from acked.errors import LayerError

__all__ = ("TokenProvider", "see_refused_tokens", "with_secret_of")

_connection: Final = cast("Any", import_module("aiokafka.conn"))
_errors: Final = cast("Any", import_module("aiokafka.errors"))
if TYPE_CHECKING:

    class _Provider: ...

    class _Authenticator:
        _sasl_oauth_token_provider: object

        async def step(self, payload: bytes | None) -> tuple[bytes, bool] | None: ...

else:
    _Provider = import_module("aiokafka.abc").AbstractTokenProvider
    _Authenticator = _connection.OAuthAuthenticator


class TokenProvider(_Provider):
    """Gives aiokafka the token for one more connection."""

    def __init__(self, secret: Callable[[], str]) -> None:
        self._secret = secret

    async def token(self) -> str:
        """Return the token as it is now."""
        return _asked(self._secret)


class _StrictAuthenticator(_Authenticator):
    """aiokafka's, that knows a refusal of a token of ours."""

    async def step(self, payload: bytes | None) -> tuple[bytes, bool] | None:
        if payload and isinstance(self._sasl_oauth_token_provider, TokenProvider):
            raise _errors.SaslAuthenticationFailed("the token was refused")
        return await super().step(payload)


def see_refused_tokens() -> None:
    """Let aiokafka tell of a token of ours that was refused; all others are as before."""
    _connection.OAuthAuthenticator = _StrictAuthenticator


def with_secret_of(client: object, secret: Callable[[], str]) -> None:
    """Let `client`, of aiokafka, ask for the password for each connection.

    aiokafka reads it from the client whenever it connects.
    """
    kind = type(client)
    asked = property(lambda _: _asked(secret))
    client.__class__ = type(kind.__name__, (kind,), {"_sasl_plain_password": asked})


def _asked(secret: Callable[[], str]) -> str:
    try:
        return secret()
    except LayerError as error:
        raise _errors.KafkaConnectionError(str(error)) from error
