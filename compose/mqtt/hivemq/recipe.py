"""HiveMQ Community Edition, embedded, as a private process."""

from typing import ClassVar

from compose.mqtt.from_jars import JavaMQTTRecipe


class HiveMQRecipe(JavaMQTTRecipe):
    """HiveMQ with its sessions in the folder; whoever comes is let in."""

    name: ClassVar[str] = "hivemq"


RECIPE = HiveMQRecipe
