"""The reference matcher, against the server whose globs it speaks."""

import fnmatch
import itertools

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from acked._machines.glob import glob

CASES = [
    ("", "", True),
    ("", "a", False),
    ("*", "", True),
    ("a*", "abc", True),
    ("*c", "abc", True),
    ("a*b*c", "a--b--b--c", True),
    ("a*b*c", "a--b--b--d", False),
    ("h?llo", "hello", True),
    ("h?llo", "hllo", False),
    ("h??llo", "h\N{LATIN SMALL LETTER E WITH ACUTE}llo", True),  # by bytes
    ("h[ae]llo", "hallo", True),
    ("h[^e]llo", "hello", False),
    ("h[^e]llo", "hallo", True),
    ("h[a-b]llo", "hbllo", True),
    ("h[b-a]llo", "hallo", True),
    ("h[a-b]llo", "hcllo", False),
    ("h[\\]]llo", "h]llo", True),
    ("h[\\]b]llo", "hbllo", True),
    ("h[a-c", "hb", True),
    ("h[a\\", "h\\", True),
    ("\\*", "*", True),
    ("\\*", "a", False),
    ("a[bc", "ab", True),
    ("**a**", "xax", True),
    ("line*", "line\nbreak", True),
]


@pytest.mark.parametrize(("pattern", "name", "expected"), CASES)
def test_known_cases(pattern: str, name: str, expected: bool) -> None:
    assert glob(pattern)(name) is expected


def test_many_stars_do_not_explode() -> None:
    assert not glob("a*" * 60 + "b")("a" * 4000)


@given(st.text("ab*?", max_size=8), st.text("abc", max_size=8))
def test_without_sets_it_is_the_shells_glob(pattern: str, name: str) -> None:
    assert glob(pattern)(name) == fnmatch.fnmatchcase(name, pattern)


def test_it_agrees_with_the_server(redis_broker) -> None:
    """B6: hundreds of patterns, odd ones too, on what KEYS finds."""
    names = [
        "".join(letters) for n in range(1, 4) for letters in itertools.product("ab-]", repeat=n)
    ]
    with redis.Redis.from_url(redis_broker.url, db=9, decode_responses=True) as client:
        client.flushdb()
        client.mset(dict.fromkeys(names, ""))

        @settings(max_examples=300, deadline=None)
        @given(st.text("ab-]*?[^\\", min_size=1, max_size=7))
        def agrees(pattern: str) -> None:
            matches = glob(pattern)
            found = client.keys(pattern)
            assert {name for name in names if matches(name)} == set(found)

        agrees()
        client.flushdb()
