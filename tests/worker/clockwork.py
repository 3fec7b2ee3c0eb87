"""An app whose schedule a fleet runs: `acked run tests.worker.clockwork:app`."""

import os
from datetime import datetime

from acked import App, Publish, Topic

TICKS = Topic("ticks", str)

app = App(os.environ.get("CLOCKWORK_URL", "memory-queue://"))


@app.every(0.4)
def tick(at: datetime) -> Publish[str]:
    return Publish(TICKS, at.isoformat(), headers={"pid": str(os.getpid())})
