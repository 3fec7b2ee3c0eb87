"""The conformance suite: learn whether a layer keeps its promises."""
