"""ActiveMQ Artemis as a private process."""

from typing import ClassVar

from compose.mqtt.from_jars import JavaMQTTRecipe


class ArtemisRecipe(JavaMQTTRecipe):
    """Artemis with its journal in the folder; whoever comes is let in."""

    name: ClassVar[str] = "artemis"


RECIPE = ArtemisRecipe
