"""Real servers that ask for a password, and show whatever certificate a test wants of them.

`port(shown)` is where the server shows the certificate of that name; at "mutual" it shows a good one
and wants one of ours, at "plain" it has no TLS. Everywhere it asks for `PASSWORD` of `user(shown)`.
"""

import asyncio
import shutil
import socket
import ssl
import struct
import subprocess
import threading
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Self

import asyncpg
import redis

from compose.kafka.recipe import KafkaRecipe
from compose.mqtt.recipe import MosquittoRecipe
from compose.native.process import free_ports, wait_until
from compose.native.server import NativeBroker
from compose.postgres.recipe import PostgresRecipe
from compose.recipe import Recipe
from compose.redis.recipe import RedisRecipe
from tests.fix_brokers import or_skip
from tests.layers.tls_kit import Certificates, Pair

PASSWORD = "Tulip77@:/?#[ %&+Orchid99"
SHOWN = ("good", "expired", "elsewhere", "alone")


class Guarded(ABC):
    """One server, from its start to `close`."""

    def __init__(self, certificates: Certificates, recipe: Recipe) -> None:
        self.certificates = certificates
        self.broker = NativeBroker(recipe)
        or_skip(self.broker.name, self.broker.start)

    @abstractmethod
    def port(self, shown: str) -> int: ...

    def user(self, shown: str) -> str:
        return "shop"

    def close(self) -> None:
        self.broker.close()

    def _pair(self, shown: str) -> Pair:
        return self.certificates.shown["good" if shown == "mutual" else shown]


class GuardedRedis(Guarded):
    """Changes its certificate while it runs."""

    def __init__(self, certificates: Certificates) -> None:
        (self._port,) = free_ports(1)
        good = certificates.shown["good"]
        lines = (
            f"tls-port {self._port}",
            f"tls-cert-file {good.certificate}",
            f"tls-key-file {good.key}",
            f"tls-ca-cert-file {certificates.authority}",
            "tls-auth-clients no",
        )
        super().__init__(certificates, RedisRecipe(more=lines))
        rights = ("on", f">{PASSWORD}", "~*", "&*", "+@all")
        with redis.Redis.from_url(self.broker.url) as first:
            first.execute_command("ACL", "SETUSER", "shop", *rights)
        self._admin = redis.Redis(port=self.broker.port, username="shop", password=PASSWORD)
        self._admin.execute_command("ACL", "SETUSER", "default", "off")

    def port(self, shown: str) -> int:
        if shown == "plain":
            return self.broker.port
        pair = self._pair(shown)
        self._admin.execute_command(
            *("CONFIG", "SET", "tls-cert-file", pair.certificate, "tls-key-file", pair.key),
            *("tls-auth-clients", "yes" if shown == "mutual" else "no"),
        )
        return self._port

    def close(self) -> None:
        self._admin.close()
        super().close()


class GuardedPostgres(Guarded):
    """Changes its certificate at a reload; `vault` is the user who needs one of ours."""

    def __init__(self, certificates: Certificates) -> None:
        recipe = PostgresRecipe()
        super().__init__(certificates, recipe)
        assert self.broker.folder is not None
        self._folder = self.broker.folder / "tls"
        self._folder.mkdir()
        self._owner = recipe.account()
        shutil.copy(certificates.authority, self._folder / "authority.pem")
        for name, pair in certificates.shown.items():
            shutil.copy(pair.certificate, self._folder / f"{name}.pem")
            shutil.copy(pair.key, self._folder / f"{name}.key")
        for path in (self._folder, *self._folder.iterdir()):
            path.chmod(0o700 if path.is_dir() else 0o600)
            if self._owner is not None:
                shutil.chown(path, self._owner, self._owner)
        for user in ("shop", "vault"):
            self._run(f"CREATE ROLE {user} LOGIN SUPERUSER PASSWORD '{PASSWORD}'")
        self._run(f"ALTER SYSTEM SET ssl_ca_file = '{self._folder}/authority.pem'")
        self._show("good")
        rules = self.broker.folder / "data" / "pg_hba.conf"
        rules.write_text(
            "hostssl all vault all scram-sha-256 clientcert=verify-ca\n"
            "host all shop all scram-sha-256\nhost all acked all trust\n"
        )
        self._run("SELECT pg_reload_conf()")

    def port(self, shown: str) -> int:
        if shown in self.certificates.shown:
            self._show(shown)
        return self.broker.port

    def user(self, shown: str) -> str:
        return "vault" if shown == "mutual" else "shop"

    def _show(self, name: str) -> None:
        for kind, end in (("cert", "pem"), ("key", "key")):
            self._run(f"ALTER SYSTEM SET ssl_{kind}_file = '{self._folder}/{name}.{end}'")
        self._run("ALTER SYSTEM SET ssl = on")
        self._run("SELECT pg_reload_conf()")
        wanted = ssl.PEM_cert_to_DER_cert(Path(self._pair(name).certificate).read_text())
        assert wait_until(lambda: self._shows() == wanted, 20)

    def _shows(self) -> bytes | None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with socket.create_connection(("127.0.0.1", self.broker.port), 5) as plain:
            plain.sendall(struct.pack("!ii", 8, 80877103))
            if plain.recv(1) != b"S":
                return None
            with context.wrap_socket(plain) as secured:
                return secured.getpeercert(binary_form=True)

    def _run(self, statement: str) -> None:
        async def run() -> None:
            connection = await asyncpg.connect(self.broker.url)
            try:
                await connection.execute(statement)
            finally:
                await connection.close()

        with ThreadPoolExecutor(1) as pool:  # a test may have a loop of its own
            pool.submit(asyncio.run, run()).result()


class GuardedMosquitto(Guarded):
    """Has a listener for each certificate."""

    def __init__(self, certificates: Certificates, folder: Path) -> None:
        passwords = folder / "passwords"
        made = subprocess.run(
            ["mosquitto_passwd", "-b", "-c", str(passwords), "shop", PASSWORD],
            capture_output=True,
            check=False,
        )
        assert made.returncode == 0, made.stderr
        self._ports = dict(zip((*SHOWN, "mutual"), free_ports(5), strict=True))
        lines = [f"password_file {passwords}"]
        for shown, port in self._ports.items():
            pair = certificates.shown["good" if shown == "mutual" else shown]
            lines += [f"listener {port} 127.0.0.1", f"certfile {pair.certificate}"]
            lines += [f"keyfile {pair.key}"]
        lines += [f"cafile {certificates.authority}", "require_certificate true"]
        super().__init__(certificates, MosquittoRecipe(tuple(lines)))

    def port(self, shown: str) -> int:
        return self._ports.get(shown, self.broker.port)


class GuardedKafka(Guarded):
    """Has a listener for each certificate, and one without TLS; its own is not for clients."""

    def __init__(self, certificates: Certificates, folder: Path) -> None:
        names = (*SHOWN, "mutual", "plain")
        inner, controller, *ports = free_ports(2 + len(names))
        self._ports = dict(zip(names, ports, strict=True))
        at = "127.0.0.1"
        ours = [f"{name.upper()}://{at}:{port}" for name, port in self._ports.items()]
        kinds = [f"{n.upper()}:SASL_{'PLAINTEXT' if n == 'plain' else 'SSL'}" for n in names]
        listeners = [f"PLAINTEXT://{at}:{inner}", *ours]
        login = (
            "org.apache.kafka.common.security.plain.PlainLoginModule required "
            f'user_shop="{PASSWORD}";'
        )
        lines = [
            f"controller.quorum.voters=1@{at}:{controller}",
            f"listeners={','.join(listeners)},CONTROLLER://{at}:{controller}",
            f"advertised.listeners={','.join(listeners)}",
            "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,"
            + ",".join(kinds),
            "sasl.enabled.mechanisms=PLAIN",
            "connection.failed.authentication.delay.ms=0",
            "listener.name.mutual.ssl.client.auth=required",
            "listener.name.mutual.ssl.truststore.type=PEM",
            f"listener.name.mutual.ssl.truststore.location={certificates.authority}",
        ]
        for name in names:
            of = f"listener.name.{name}"
            lines.append(f"{of}.plain.sasl.jaas.config={login}")
            if name != "plain":
                pair = certificates.shown["good" if name == "mutual" else name]
                store = folder / f"kafka-{name}.pem"
                store.write_text(Path(pair.key).read_text() + Path(pair.certificate).read_text())
                lines += [f"{of}.ssl.keystore.type=PEM", f"{of}.ssl.keystore.location={store}"]
        super().__init__(certificates, KafkaRecipe(heap=384, more=tuple(lines)))

    def port(self, shown: str) -> int:
        return self._ports[shown]


class FalseServer(threading.Thread):
    """Says that it has no TLS, and would rather hear the password in clear."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self.given = b""

    def run(self) -> None:
        with suppress(OSError):  # closed
            while True:
                connection, _ = self._server.accept()
                with connection, suppress(OSError):
                    connection.settimeout(2)
                    asked = connection.recv(65_536)
                    self.given += asked
                    connection.sendall(b"N" if len(asked) == 8 else b"no\r\n")
                    self.given += connection.recv(65_536)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.join(10)


class Guards:
    """The guarded servers of a module, each started when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: dict[str, Guarded] = {}
        self._certificates: Certificates | None = None

    def __call__(self, name: str) -> Guarded:
        """Return the server called `name`."""
        if self._certificates is None:
            self._certificates = Certificates(self._folder)
        if name not in self._started:
            self._started[name] = self._start(name, self._certificates)
        return self._started[name]

    def close(self) -> None:
        for one in self._started.values():
            one.close()

    def _start(self, name: str, certificates: Certificates) -> Guarded:
        match name:
            case "redis":
                return GuardedRedis(certificates)
            case "postgres":
                return GuardedPostgres(certificates)
            case "mqtt":
                return GuardedMosquitto(certificates, self._folder)
            case _:
                return GuardedKafka(certificates, self._folder)
