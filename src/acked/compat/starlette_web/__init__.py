"""The channels of starlette_web over `acked`: see the guide *Move from starlette_web*."""
