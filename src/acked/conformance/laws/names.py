"""Laws B2 of names: what is nearly the same is not, and a name is neither a pattern nor a path."""

import re
from typing import Final

from acked.conformance.harness import Harness
from acked.conformance.law import law
from acked.conformance.laws.owed import all_that_is_owed
from acked.conformance.laws.steps import LONG, introduce, opened

__all__ = ("NameLaws",)

LONG_NAME: Final = "a-long-name-of-which-forty-are-not-enough"
JOINTS: Final = "-_.:/|"
"""What layers put between a topic and a group to make one name of the two."""
SIGNS: Final = "_.%*?-"
"""What stands for any letter in some language of patterns, and for itself in a name."""


class NameLaws:
    """Two names are two, however they look."""

    @law("B2")
    async def test_names_that_are_nearly_the_same_are_not(self, harness: Harness) -> None:
        """B2: topics that differ in case only, or behind their first forty letters."""
        stem = harness.topic("Name")
        variants = [stem, stem.upper(), stem.lower()]
        variants += [f"{LONG_NAME}{stem.lower()}{ending}" for ending in ("-one", "-two")]
        group = harness.group()
        async with opened(harness) as channel:
            legal = re.compile(channel.layer.capabilities.topic_pattern or ".*")
            names = list(filter(legal.fullmatch, variants))
            assert names, "a topic_pattern that refuses all names of letters, digits and dashes"
            for name in names:
                await introduce(channel, name, group=group)
            for name in names:
                await channel.publish(name, name)
            for name in names:
                async with channel.subscribe(name, group=group, lease=LONG) as sub:
                    owed = await all_that_is_owed(channel, name, sub)
                assert [delivery.body for delivery in owed] == [name]

    @law("B2", "B5", needs=("groups",))
    async def test_groups_of_nearly_the_same_name_are_not_the_same(self, harness: Harness) -> None:
        """B2, B5: in case or in a sign only, or behind forty letters: each gets all."""
        stem = harness.group("Group")
        groups = [stem, stem.lower(), f"{LONG_NAME}{stem}-one", f"{LONG_NAME}{stem}-two"]
        groups += [f"{stem}{sign}x" for sign in "-_."]
        topic = harness.topic()
        async with opened(harness) as channel:
            for group in groups:
                await introduce(channel, topic, group=group)
            await channel.publish(topic, "body")
            for group in groups:
                async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                    owed = await all_that_is_owed(channel, topic, sub)
                assert [delivery.body for delivery in owed] == ["body"]

    @law("B2", "B5", needs=("groups",))
    async def test_names_put_together_are_not_taken_apart_elsewhere(self, harness: Harness) -> None:
        """B2, B5: `a` and `b-c` are not `a-b` and `c`, whatever stands between."""
        async with opened(harness) as channel:
            legal = re.compile(channel.layer.capabilities.topic_pattern or "(?s:.*)")
            for joint in JOINTS:
                stem, other = harness.topic("t"), harness.group("g")
                pairs = ((stem, f"x{joint}{other}"), (f"{stem}{joint}x", other))
                if legal.fullmatch(pairs[1][0]) is None:
                    continue
                for topic, group in pairs:
                    await introduce(channel, topic, group=group)
                for topic, _ in pairs:
                    await channel.publish(topic, topic)
                for topic, group in pairs:
                    async with channel.subscribe(topic, group=group, lease=LONG) as sub:
                        owed = await all_that_is_owed(channel, topic, sub)
                    assert [(d.topic, d.body) for d in owed] == [(topic, topic)]

    @law("B2")
    async def test_a_name_is_no_pattern(self, harness: Harness) -> None:
        """B2: `_`, `.`, `%`, `*` and `?` stand for themselves."""
        group = harness.group()
        async with opened(harness) as channel:
            legal = re.compile(channel.layer.capabilities.topic_pattern or "(?s:.*)")
            for sign in SIGNS:
                stem = harness.topic("t")
                pair = (f"{stem}a{sign}b", f"{stem}axb")
                if legal.fullmatch(pair[0]) is None:
                    continue
                for name in pair:
                    await introduce(channel, name, group=group)
                for name in pair:
                    await channel.publish(name, name)
                for name in pair:
                    async with channel.subscribe(name, group=group, lease=LONG) as sub:
                        owed = await all_that_is_owed(channel, name, sub)
                    assert [(d.topic, d.body) for d in owed] == [(name, name)]
