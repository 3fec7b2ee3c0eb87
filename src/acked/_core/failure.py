"""What a reader is told when a layer raised: a typed error, whatever it was."""

from acked.errors import LayerError

__all__ = ("layer_failure",)


def layer_failure(error: Exception, doing: str) -> LayerError:
    """Return `error` if it is a `LayerError`, else one that names it: a bug must not be a hang."""
    if isinstance(error, LayerError):
        return error
    failure = LayerError(f"the layer failed while {doing}: {type(error).__name__}")
    failure.__cause__ = error
    return failure
