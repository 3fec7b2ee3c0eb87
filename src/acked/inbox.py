"""An inbox: what comes twice has its effects once, wherever it comes from."""

import logging
from types import TracebackType
from typing import Any, Final, Self

import anyio
from anyio.abc import TaskGroup

from acked._boxes.stores import inbox_store, postgres_sql
from acked._core.ack.delivery import Delivery, entry_of
from acked._core.episode import Episode
from acked._core.options import checked_seconds
from acked._machines.settlement import State
from acked.errors import AlreadySettled, LayerError, hiding_arguments

__all__ = ("Inbox",)

logger: Final[logging.Logger] = logging.getLogger("acked.inbox")

WEEK: Final = 7 * 24 * 3600.0
OFTEN: Final = 300.0


class Inbox:
    """A table in the database of your effects: the ids of what was handled, by group and topic.

    ```python
    async with Inbox("postgresql://shop@db.internal/shop") as inbox:
        async for delivery in subscription:
            async with delivery, pool.acquire() as connection, connection.transaction():
                if await inbox.first_time(delivery, connection=connection):
                    await connection.execute("insert into shipments values ($1)", delivery.body)
    ```

    The mark is in your transaction, so it stands exactly if the effects do. The delivery is the
    outer context: it is acked after the commit. While entered, marks that are older than `keep`
    seconds are deleted, some at a time: keep them longer than a message can come again. `database`,
    `schema` and `migrate` are as `Outbox` has them; it is entered and left by one task.
    """

    @hiding_arguments
    def __init__(
        self, database: str, *, schema: str = "acked", migrate: bool = True, keep: float = WEEK
    ) -> None:
        self._keep = checked_seconds("keep", keep, above=0.0)
        self._store: Final = inbox_store(database, schema=schema, migrate=migrate)
        self._purging: TaskGroup

    def __repr__(self) -> str:
        return f"<Inbox in {self._store!r}>"

    @staticmethod
    def schema_sql(schema: str = "acked") -> str:
        """Return the SQL that makes the table in PostgreSQL; run it in one transaction."""
        return postgres_sql("inbox", schema)

    async def __aenter__(self) -> Self:
        """Make the table, or see that it is there, and begin to purge it."""
        await self._store.prepare()
        self._purging = anyio.create_task_group()
        await self._purging.__aenter__()
        self._purging.start_soon(self._purge_often)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop purging."""
        self._purging.cancel_scope.cancel()
        await self._purging.__aexit__(None, None, None)

    async def first_time(self, delivery: Delivery[Any], *, connection: object) -> bool:
        """Mark `delivery` in the transaction that `connection` is in; say whether it was not yet.

        Told apart are group, topic and id: what one group has handled another has not. Whoever asks
        for the same while such a transaction is open waits for its end. Raises `AlreadySettled` for
        a delivery that was settled before its work; `ConfigurationError` and `LayerError` as
        `Outbox.publish` does.
        """
        if entry_of(delivery).state is not State.HELD:
            raise AlreadySettled(
                f"{delivery!r} was settled before its work was committed; make the delivery the "
                "outer context: async with delivery, connection.transaction()"
            )
        found = delivery.group, delivery.topic, delivery.id
        return await self._store.mark(connection, *found)

    async def purge(self) -> None:
        """Delete what is older than `keep`, in pages; by itself it happens every few minutes."""
        while await self._store.purge_page(self._keep):
            await anyio.lowlevel.checkpoint()

    async def _purge_often(self) -> None:
        episode = Episode(logger, "marks are purged again")
        while True:
            try:
                await self.purge()
            except LayerError as error:
                episode.note(error)
            else:
                episode.over()
            await anyio.sleep(min(OFTEN, self._keep))
