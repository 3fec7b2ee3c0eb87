"""Rights on a Kafka: rules given, taken back and looked at, for which aiokafka has no requests."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

import anyio
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Int8, Int16, Int32, Schema, String

TOPIC, GROUP, LITERAL, ALL, READ, WRITE, DESCRIBE = 2, 3, 3, 2, 3, 4, 8
DENY, ALLOW = 2, 3
TEXT: Final = String("utf-8")
FIELDS: Final = (
    ("resource_type", Int8),
    ("name", TEXT),
    ("pattern", Int8),
    ("principal", TEXT),
    ("host", TEXT),
    ("operation", Int8),
    ("permission", Int8),
)


class Rule(NamedTuple):
    """What a principal may do, or may not, with a resource, from any host."""

    resource_type: int
    name: str
    operation: int
    permission: int
    principal: str = "User:reader"

    def fields(self) -> tuple[int, str, int, str, str, int, int]:
        return (
            *(self.resource_type, self.name, LITERAL, self.principal),
            *("*", self.operation, self.permission),
        )


class CreateAclsResponse_v1(Response):
    API_KEY, API_VERSION = 30, 1
    SCHEMA = Schema(
        ("throttle", Int32), ("results", Array(("error_code", Int16), ("error_message", TEXT)))
    )


class CreateAclsRequest_v1(RequestStruct):
    API_KEY, API_VERSION, RESPONSE_TYPE = 30, 1, CreateAclsResponse_v1
    SCHEMA = Schema(("creations", Array(*FIELDS)))


class CreateAclsRequest(Request[CreateAclsRequest_v1]):
    API_KEY = 30

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = rules

    def build(self, request_struct_class):
        return request_struct_class([rule.fields() for rule in self._rules])


class DeleteAclsResponse_v1(Response):
    API_KEY, API_VERSION = 31, 1
    FOUND = Array(("error_code", Int16), ("error_message", TEXT), *FIELDS)
    SCHEMA = Schema(
        ("throttle", Int32),
        ("results", Array(("error_code", Int16), ("error_message", TEXT), ("found", FOUND))),
    )


class DeleteAclsRequest_v1(RequestStruct):
    API_KEY, API_VERSION, RESPONSE_TYPE = 31, 1, DeleteAclsResponse_v1
    SCHEMA = Schema(("filters", Array(*FIELDS)))


class DeleteAclsRequest(Request[DeleteAclsRequest_v1]):
    API_KEY = 31

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = rules

    def build(self, request_struct_class):
        return request_struct_class([rule.fields() for rule in self._rules])


class DescribeAclsResponse_v1(Response):
    API_KEY, API_VERSION = 29, 1
    RULES = Array(("principal", TEXT), ("host", TEXT), ("operation", Int8), ("permission", Int8))
    SCHEMA = Schema(
        ("throttle", Int32),
        ("error_code", Int16),
        ("error_message", TEXT),
        (
            "resources",
            Array(("resource_type", Int8), ("name", TEXT), ("pattern", Int8), ("rules", RULES)),
        ),
    )


class DescribeAclsRequest_v1(RequestStruct):
    API_KEY, API_VERSION, RESPONSE_TYPE = 29, 1, DescribeAclsResponse_v1
    SCHEMA = Schema(*FIELDS)


class DescribeAclsRequest(Request[DescribeAclsRequest_v1]):
    API_KEY = 29

    def __init__(self, rule: Rule) -> None:
        self._rule = rule

    def build(self, request_struct_class):
        return request_struct_class(*self._rule.fields())


async def add_rules(admin: AIOKafkaAdminClient, rules: Sequence[Rule]) -> None:
    """Add `rules`; the broker keeps them from some moment on."""
    answer = await _asked(admin, CreateAclsRequest(rules))
    assert {code for code, _ in answer.results} <= {0}


@asynccontextmanager
async def ruled(admin: AIOKafkaAdminClient, rules: Sequence[Rule]) -> AsyncGenerator[None]:
    """Let `rules` hold while within; when they hold, and hold no more, is what the broker says."""
    await add_rules(admin, rules)
    try:
        await _until(admin, rules, are_there=True)
        yield
    finally:
        answer = await _asked(admin, DeleteAclsRequest(rules))
        assert {code for code, _, _ in answer.results} <= {0}
        await _until(admin, rules, are_there=False)


async def _until(admin: AIOKafkaAdminClient, rules: Sequence[Rule], *, are_there: bool) -> None:
    with anyio.fail_after(20):
        for rule in rules:
            while bool((await _asked(admin, DescribeAclsRequest(rule))).resources) != are_there:
                await anyio.sleep(0.02)


async def _asked(admin: AIOKafkaAdminClient, request: Request):
    return await admin._client.send(admin._client.get_random_node(), request)
