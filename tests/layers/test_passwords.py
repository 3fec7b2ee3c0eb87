"""A password by a function: what it may be and do."""

import pytest

from acked import ConfigurationError, LayerError
from acked.layers._shared.passwords import check_password, current


async def asynchronous() -> str:
    return "secret"


def test_the_function_is_asked_each_time() -> None:
    passwords = ["one", "two"]
    assert [current("fixed"), current(passwords.pop), current(passwords.pop)] == [
        *("fixed", "two", "one")
    ]


def test_one_that_fails_is_told_without_its_words_and_may_pass() -> None:
    def failing() -> str:
        raise OSError("no such file: /secret")

    with pytest.raises(LayerError, match=r"raised OSError$") as caught:
        current(failing)
    assert caught.value.may_pass
    assert isinstance(caught.value.__cause__, OSError)


def test_one_that_returns_no_text_is_told() -> None:
    with pytest.raises(LayerError, match="returned bytes, not str") as caught:
        current(lambda: b"secret")  # type: ignore[arg-type,return-value]
    assert not caught.value.may_pass
    assert "secret" not in str(caught.value)


def test_one_that_is_asynchronous_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="not an async one"):
        check_password(asynchronous)  # type: ignore[arg-type]
