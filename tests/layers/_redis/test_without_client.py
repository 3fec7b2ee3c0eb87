"""Without redis-py a layer says what to install."""

import subprocess
import sys

import pytest

PROGRAM = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] == sys.argv[1]:
            raise ModuleNotFoundError(f'No module named {name!r}', name=name)
sys.meta_path.insert(0, Hidden())
try:
    __import__(sys.argv[2])
except ModuleNotFoundError as error:
    print(error, '|', error.name, '|', error.__cause__ is not None)
"""


@pytest.mark.parametrize("missing", ["redis", "hiredis"])
@pytest.mark.parametrize("layer", ["acked.layers.redis_streams", "acked.layers.redis_pubsub"])
def test_a_layer_without_its_client_says_which_extra_to_install(layer, missing) -> None:
    told = subprocess.run(
        [sys.executable, "-c", PROGRAM, missing, layer], capture_output=True, text=True, check=True
    )
    message, name, has_cause = told.stdout.strip().split(" | ")
    assert message == f"{missing} is not installed: pip install 'acked[redis]'"
    assert (name, has_cause) == (missing, "True")
