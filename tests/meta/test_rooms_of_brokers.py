"""A broker lives in its own rooms: who else names it says why, and who must is in CONTRIBUTING."""

import ast
import re
from fnmatch import fnmatch

import pytest

from compose.lifecycle import NAMES
from tests.meta.source import ROOT, name_of, tracked, tree

ALSO = {"mqtt": "|mosquitto"}
"""Other names of a broker."""

ROOMS = (
    "src/acked/layers/*{name}*",
    "compose/{name}/*",
    "tests/layers/*{name}*",
    "tests/conformance/test_{name}*",
    "tests/conformance/on_{name}*",
)
"""What is a broker's own. A file of another folder that has its name is that folder's matter."""

TOUCHED = {
    "pyproject.toml": "its scheme, the extra with its client, and that in `all`",
    "constraints*.txt": "the versions of its client",
    "src/acked/layers/_shared/*": "a refusal names layers to choose instead",
    "tests/smoke/keepers.py": "with its client alone: put something in that it must keep",
    "docs/how-to/choose_a_layer.md": "when to choose it",
    "docs/how-to/order_by_key.md": "whether it keeps keys in order, and what to do if not",
    "docs/how-to/run_workers.md": "whether it can publish once for a schedule",
    "docs/reference/logging.md": "its logger",
    "docs/explanation/security.md": "what its URL verifies, the least rights",
    "tests/layers/test_passwords.py": "its scheme: nobody is told a password",
    "tests/layers/test_hostile.py": "who publishes anything to it",
    "tests/layers/test_fuzz.py": "what it reads that others write",
    "tests/layers/test_guarded_servers.py": "its rows: certificates and wrong passwords",
    "tests/layers/guarded_kit.py": "its server, with a password and any certificate",
    "README.md": "the table of layers",
    "CHANGELOG.md": "users hear of it",
}
"""What whoever adds a broker writes outside its rooms; CONTRIBUTING lists the same."""

MADE = {
    "docs/reference/conformance.json": "pytest tests/conformance --acked-results ...",
    "docs/explanation/architecture*": "python -m tests.meta.architecture",
    "tests/meta/public_api.txt": "python -m tests.meta.public_api",
}
"""What a command writes; tests say when it must be run."""

STAYS = {
    # These grow with other libraries and with features, not with brokers.
    "src/acked/compat/": "the drop-ins offer what their originals offer",
    "tests/compat/": "and are compared with them on the same brokers",
    "docs/how-to/move_from_*": "and the guides tell what is different",
    "src/acked/demo/": "the demo shows one ack-capable broker",
    "src/acked/cli/": "and its command names it",
    "tests/cli/": "and so its tests",
    "docs/examples/chat/": "the chat is an example on a few layers",
    "docs/how-to/serve_a_chat.md": "and its guide",
    "tests/chat/": "and its tests",
    "docs/examples/orders/": "the order service names the brokers it is moved between",
    "docs/how-to/take_orders.md": "and so does its guide",
    "tests/orders/": "and its tests",
    "docs/how-to/deploy_workers.md": "and the guide to deploying compares libraries on one",
    "docs/tutorials/": "the tutorial needs one broker",
    "tests/docs/": "and its examples run on it",
    "docs/how-to/keep_up_with_news.md": "an example on one layer",
    "docs/how-to/publish_with_a_transaction.md": "a queue, an outbox or an inbox: by the database",
    "src/acked/_boxes/": "outbox and inbox are tables in a database of the user's",
    "src/acked/inbox.py": "likewise",
    "src/acked/outbox.py": "likewise",
    "tests/boxes/": "and are tried in it",
    "docs/explanation/guarantees.md": "an example of what is as good as the broker",
    "docs/explanation/design_decisions.md": "a decision names the broker that forced it",
    "tests/meta/": "the tests of the house plant and follow an example",
    "tests/typing/": "so do those of the types",
    "tests/worker/": "workers are tried over a few layers",
    "tests/core/": "so do those of URLs, and a comment on a case",
    "tests/smoke/": "what one server does that the others do not",
    "tests/*.py": "a factory with a password, which one server takes; examples",
    "tests/broken_layers/": "a bug is named after the report of another system on that broker",
    "tests/mutation/": "which tests a mutant of two brokers' shared modules must not escape; judgements",
    "tests/crash/": "a crash run may be had on any layer; which have one is a table there",
    "benchmarks/": "so may a benchmark",
    "src/acked/_machines/": "why a machine is as it is: the broker whose rule it follows",
    "src/acked/_core/": "likewise",
    "src/_acked_pytest.py": "an example in a docstring",
    "tests/machines/test_glob.py": "the oracle of patterns is a server's",
    "compose/lifecycle.py": "why a proxy's route has two ports",
    "compose/external.py": "a variable as an example",
    "compose/native/process.py": "an example in a comment",
    "compose/native/server.py": "why a folder is open to others",
    ".ci/run": "it requires brokers by name; `all` would do",
    "CONTRIBUTING.md": "examples",
    "LICENSE": "a word of its own",
    "Makefile": "examples",
}
"""Who names a broker, and yet is not touched when the next one comes."""

ARGUED = TOUCHED | MADE | STAYS


def fits(name: str, pattern: str) -> bool:
    """Return whether `pattern` argues for `name`: a folder's ends with a slash."""
    if pattern.endswith("/"):
        return name.startswith(pattern)
    return name.count("/") == pattern.count("/") and fnmatch(name, pattern)


def is_argued(name: str) -> bool:
    return any(fits(name, pattern) for pattern in ARGUED)


def naming(broker: str) -> list[str]:
    """Return the files outside the rooms of `broker` that name it, by their path or their text."""
    word = re.compile((broker + ALSO.get(broker, "")).encode(), re.IGNORECASE)
    own = [room.format(name=broker) for room in ROOMS]
    others = [file for file in tracked() if not any(fnmatch(name_of(file), room) for room in own)]
    return [name_of(file) for file in others if word.search(file.read_bytes())]


@pytest.mark.parametrize("broker", NAMES)
def test_who_names_a_broker_outside_its_rooms_says_why(broker: str) -> None:
    assert [name for name in naming(broker) if not is_argued(name)] == []


def test_every_argument_is_still_needed() -> None:
    named = {name for broker in NAMES for name in naming(broker)}
    assert [one for one in ARGUED if not any(fits(name, one) for name in named)] == []


@pytest.mark.parametrize("folder", ["compose", "compose/native"])
def test_what_starts_brokers_is_told_of_none(folder: str) -> None:
    told = {
        name_of(file): constant.value
        for file in (ROOT / folder).glob("*.py")
        for constant in ast.walk(tree(file))
        if isinstance(constant, ast.Constant) and constant.value in NAMES
    }
    assert told == {}


def test_contributing_lists_what_is_touched() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    walk = text.partition("### A walk on paper\n")[2].partition("\n## ")[0]
    listed = re.findall(r"^\| `([^`]+)` \|", walk, re.MULTILINE)
    rooms = [room.format(name="NAME").replace("*NAME*", "NAME") for room in ROOMS]
    assert set(listed) == {*(room.rstrip("*") for room in rooms), *TOUCHED}
