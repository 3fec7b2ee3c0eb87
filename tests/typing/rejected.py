"""What type checkers must reject: exactly the lines marked so. Checked, never run."""

import msgspec

from acked import App, Channel, Delivery, Message, Overflow, Publish, Topic
from acked.abc import AckLayer, FireAndForgetLayer


class Order(msgspec.Struct):
    id: int


ORDERS = Topic("orders", Order)
PRICES = Topic("prices", float)


async def news_cannot_be_settled(message: Message[float]) -> None:
    await message.ack()  # expect-error
    await message.nack()  # expect-error
    await message.reject()  # expect-error
    message.body = 2.0  # expect-error


async def nor_through_a_subscription(news: Channel[FireAndForgetLayer]) -> None:
    async with news.subscribe(PRICES) as subscription:
        async for message in subscription:
            await message.ack()  # expect-error


async def the_kinds_have_options_of_their_own(
    news: Channel[FireAndForgetLayer], debts: Channel[AckLayer]
) -> None:
    news.subscribe(PRICES, group="g")  # expect-error
    news.subscribe(PRICES, in_flight=1)  # expect-error
    debts.subscribe(ORDERS, group="g", overflow=Overflow.DROP_OLDEST)  # expect-error
    debts.subscribe(ORDERS, group="g", capacity=1)  # expect-error
    debts.subscribe(ORDERS)  # expect-error
    debts.subscribe(ORDERS, "g")  # expect-error
    debts.subscribe(ORDERS, group=1)  # expect-error
    debts.subscribe(ORDERS, group="g", lease="30")  # expect-error


async def a_topic_carries_its_own_type(
    news: Channel[FireAndForgetLayer], debts: Channel[AckLayer]
) -> None:
    await debts.publish(ORDERS, "an order")  # expect-error
    await news.publish(PRICES, Order(1))  # expect-error
    await debts.publish_many(ORDERS, [1, 2])  # expect-error
    await debts.publish(ORDERS, Order(1), "key")  # expect-error
    debts.subscribe(ORDERS, PRICES)  # expect-error
    news.subscribe(ORDERS, PRICES, group="g")  # expect-error
    await debts.publish(Topic("events", 5), 5)  # expect-error


async def a_body_has_the_type_of_its_topic(debts: Channel[AckLayer]) -> None:
    async with debts.subscribe(ORDERS, group="g") as subscription:
        delivery = await anext(subscription)
        delivery.body.price  # expect-error
        other: Delivery[float] = delivery  # expect-error
        await delivery.nack(1.0)  # expect-error


async def a_receipt_is_for_debts(news: Channel[FireAndForgetLayer]) -> None:
    (await news.publish(PRICES, 1.0)).position  # expect-error


def no_channel_without_a_layer() -> None:
    Channel("redis://localhost")  # expect-error


def a_url_for_debts_gives_no_news() -> None:
    Channel.from_url("memory:").subscribe(PRICES, overflow=Overflow.BLOCK)  # expect-error


async def on_price(price: float) -> None: ...
async def on_orders(orders: list[Order]) -> None: ...
async def counting(order: Order) -> int:
    return order.id


async def a_handler_takes_what_the_topic_carries(
    news: Channel[FireAndForgetLayer], debts: Channel[AckLayer]
) -> None:
    await debts.process(ORDERS, on_price, group="g")  # expect-error
    await debts.process(ORDERS, on_orders, group="g")  # expect-error
    await debts.process(ORDERS, counting, group="g")  # expect-error
    await debts.process(ORDERS, on_orders)  # expect-error
    await debts.process(ORDERS, on_orders, group="g", ordered_by="id")  # expect-error
    await news.process(PRICES, on_price, group="g")  # expect-error


def what_is_published_fits_its_topic() -> Publish[Order]:
    return Publish(ORDERS, 1.0)  # expect-error


APP = App("memory-queue://")


@APP.consumer(ORDERS, group="g")  # expect-error
async def on_another(price: float) -> None: ...
