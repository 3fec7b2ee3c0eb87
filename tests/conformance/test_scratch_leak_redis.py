import pytest
from acked.conformance.laws.modelled import ModelledLaws
from acked.layers.redis_streams import RedisStreamsLayer
from tests.conformance.test_redis_streams import RedisStreamsHarness

pytestmark = pytest.mark.anyio

class TestScratch(ModelledLaws):
    @pytest.fixture
    def anyio_backend(self): return "asyncio"
    @pytest.fixture
    def harness(self, module_broker, proxy):
        broker = module_broker("redis")
        between = proxy(broker)
        url = between.url.replace("redis://", "redis-streams://") + "?timeout=2"
        return RedisStreamsHarness(broker, between, url, RedisStreamsLayer.from_url)

import traceback, os, time, asyncio
from redis.asyncio.connection import AbstractConnection as AC, ConnectionPool as CP
OUT = open("/tmp/leakhelper/trace.txt", "a", buffering=1)
def stack():
    fs = [f for f in traceback.extract_stack()[:-2] if "anyio" not in f.filename and "asyncio/" not in f.filename.replace("redis/asyncio/","") and "pytest" not in f.filename and "pluggy" not in f.filename]
    return " < ".join(f"{f.filename.rsplit('/',1)[-1]}:{f.lineno}:{f.name}" for f in reversed(fs[-14:]))
def log(self, what):
    self.__dict__.setdefault("_hist", []).append(f"{time.monotonic():.3f} {what} {stack()}")
oi = AC.__init__
def init(self, *a, **k):
    oi(self, *a, **k); log(self, "init")
AC.__init__ = init
oc = AC.connect_check_health
async def connect(self, *a, **k):
    log(self, "connect")
    try:
        r = await oc(self, *a, **k)
    except BaseException as e:
        log(self, f"connect-failed {e!r}"); raise
    log(self, f"connected")
    return r
AC.connect_check_health = connect
od = AC.disconnect
async def disc(self, *a, **k):
    log(self, f"disconnect {a} {k}")
    try: r = await od(self, *a, **k)
    except BaseException as e:
        log(self, f"disconnect-failed {e!r}"); raise
    log(self, f"disconnected {self._writer}")
    return r
AC.disconnect = disc
dl = AC.__del__
def delete(self, *a, **k):
    if getattr(self, "_writer", None):
        OUT.write(f"LEAK {id(self)} {time.monotonic()}\n" + "\n".join("   " + h for h in self._hist[-8:]) + "\n")
    dl(self, *a, **k)
AC.__del__ = delete
