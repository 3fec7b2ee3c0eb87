"""The conformance suite: learn whether a layer keeps its promises.

```python
class TestFolders(AckLayerLaws):
    @pytest.fixture
    def harness(self, tmp_path):
        return FolderHarness(tmp_path)
```
"""

import pytest

# Before the laws are imported: then their plain asserts say what was compared.
pytest.register_assert_rewrite("acked.conformance.laws")

from acked.conformance.fault_layer import FaultLayer  # noqa: E402
from acked.conformance.fault_plan import Fault, FaultPlan  # noqa: E402
from acked.conformance.harness import Harness, VirtualHarness  # noqa: E402
from acked.conformance.law import Law, law, law_of  # noqa: E402
from acked.conformance.laws.ack import AckLayerLaws  # noqa: E402
from acked.conformance.laws.fire_and_forget import FireAndForgetLaws  # noqa: E402
from acked.conformance.programs import ProgramFailure, run_program  # noqa: E402
from acked.conformance.proxied import ProxiedHarness  # noqa: E402
from acked.conformance.proxy import Proxy  # noqa: E402

__all__ = (
    "AckLayerLaws",
    "Fault",
    "FaultLayer",
    "FaultPlan",
    "FireAndForgetLaws",
    "Harness",
    "Law",
    "ProgramFailure",
    "ProxiedHarness",
    "Proxy",
    "VirtualHarness",
    "law",
    "law_of",
    "run_program",
)
