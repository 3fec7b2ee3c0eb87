"""The public surface changes only on purpose."""

from difflib import unified_diff

from tests.meta.public_api import SNAPSHOT, render


def test_the_public_surface_is_the_one_on_record() -> None:
    on_record, now = SNAPSHOT.read_text(), render()
    changes = unified_diff(on_record.splitlines(), now.splitlines(), lineterm="", n=1)
    words = "the public surface changed; if that is meant: python -m tests.meta.public_api"
    assert on_record == now, "\n".join([words, *changes])
