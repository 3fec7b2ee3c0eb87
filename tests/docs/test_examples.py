"""What the README and the documentation show is what happens."""

from pathlib import Path

import pytest

from tests.docs.examples import PAGES, REDIS, ROOT, rehearse, run_page


def needs_redis(page: Path) -> bool:
    return REDIS in page.read_text()


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=f"{page.relative_to(ROOT)}{'-redis' if needs_redis(page) else ''}")
        for page in PAGES
    ],
)
def test_the_examples_of_a_page_do_what_it_says(
    page: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    monkeypatch.chdir(tmp_path)
    served = request.getfixturevalue("redis_broker").url if needs_redis(page) else REDIS
    run_page(page, redis=served)


def test_a_session_that_prints_something_else_is_noticed(tmp_path: Path) -> None:
    program = tmp_path / "hello.py"
    program.write_text("print('hello')")
    rehearse(f"$ python {program}\nhello\n")
    with pytest.raises(AssertionError, match="printed:\nhello"):
        rehearse(f"$ python {program}\ngood bye\n")


def test_an_example_that_fails_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python\nassert 1 == 2\n```\n")
    with pytest.raises(AssertionError):
        run_page(page)
