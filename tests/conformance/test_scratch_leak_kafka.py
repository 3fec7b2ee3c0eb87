import pytest
from acked.conformance.laws.modelled import ModelledLaws
from acked.layers.kafka import KafkaLayer
from tests.conformance.test_kafka import KafkaHarness, SESSION

pytestmark = pytest.mark.anyio

class TestScratch(ModelledLaws):
    @pytest.fixture
    def anyio_backend(self): return "asyncio"
    @pytest.fixture
    def harness(self, module_broker, proxy):
        broker = module_broker("kafka")
        between = proxy(broker)
        url = f"{between.url}?create_topics=1&timeout=4&session_timeout={SESSION}"
        h = KafkaHarness(broker, between, url, KafkaLayer.from_url)
        yield h
import traceback, os, time, asyncio
from aiokafka.conn import AIOKafkaConnection as AC
OUT = open("/tmp/leakhelper/ktrace.txt", "a", buffering=1)
def stack():
    fs = [f for f in traceback.extract_stack()[:-2] if "anyio" not in f.filename and "asyncio/" not in f.filename and "pytest" not in f.filename and "pluggy" not in f.filename]
    return " < ".join(f"{f.filename.rsplit('/',1)[-1]}:{f.lineno}:{f.name}" for f in reversed(fs[-14:]))
def log(self, what):
    self.__dict__.setdefault("_hist", []).append(f"{time.monotonic():.3f} {what} {stack()}")
oi = AC.__init__
def init(self, *a, **k):
    oi(self, *a, **k); log(self, "init")
AC.__init__ = init
oc = AC.connect
async def connect(self, *a, **k):
    log(self, "connect")
    try:
        r = await oc(self, *a, **k)
    except BaseException as e:
        log(self, f"connect-failed {e!r}"); raise
    log(self, f"connected")
    return r
AC.connect = connect
od = AC.close
def disc(self, *a, **k):
    log(self, f"close {a} {k}")
    return od(self, *a, **k)
AC.close = disc
dl = AC.__del__
def delete(self, *a, **k):
    if getattr(self, "_reader", None) is not None:
        OUT.write(f"LEAK {id(self)} {time.monotonic()}\n" + "\n".join("   " + h for h in self._hist[-8:]) + "\n")
    dl(self, *a, **k)
AC.__del__ = delete
