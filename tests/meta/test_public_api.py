"""The public surface changes only on purpose."""

from difflib import unified_diff

from tests.meta.public_api import SNAPSHOT, render


def test_the_public_surface_is_the_one_on_record() -> None:
    on_record, now = SNAPSHOT.read_text().splitlines(), render().splitlines()
    changes = "\n".join(unified_diff(on_record, now, lineterm="", n=1))
    words = "the public surface changed; if that is meant: python -m tests.meta.public_api"
    assert not changes, f"{words}\n{changes}"
