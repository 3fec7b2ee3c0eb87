"""In one environment with starlette_web, whose pins `acked` does not fit: as the guide says."""

import subprocess
import uuid

from compose.lifecycle import Broker
from tests.compat.controls import MAY_INSTALL, ROOT, SHIMS, Playing, or_skip

pytestmark = MAY_INSTALL

ENVIRONMENT = "starlette-web-with-acked"


def test_the_shim_overlays_starlette_web_that_is_installed(redis_broker: Broker) -> None:
    python = or_skip(ENVIRONMENT)
    script = (
        "import starlette_web, starlette_web.common.utils as theirs, acked\n"
        "from starlette_web.common.channels.base import Channel\n"
        "print(Channel.__module__, '.venv-controls' in theirs.__file__)"
    )
    said = subprocess.check_output(
        [python, "-c", script], env={"PYTHONPATH": str(SHIMS)}, text=True, cwd=ROOT / "tests"
    )
    assert said.split() == ["acked.compat.starlette_web.common.channels.base", "True"]
    arguments = ["shared", redis_broker.url, f"g{uuid.uuid4().hex}"]
    here = Playing(python, "starlette_chat", *arguments, path=(SHIMS,)).result()
    assert here == Playing(python, "starlette_chat", *arguments).result()
    assert "outcome" not in here, here


def test_the_commands_are_those_of_the_guide() -> None:
    guide = (ROOT / "docs/how-to/move_from_starlette_web.md").read_text()
    assert "pip install 'starlette_web[redis]==0.1.10'\npip install 'acked[redis]'" in guide
    assert "Channel.__module__" in guide
