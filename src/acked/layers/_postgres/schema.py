"""The schema that tables of ours are in."""

from typing import Final

__all__ = ("MAKE_SCHEMA", "quoted")

MAKE_SCHEMA: Final = """\
-- Only where it is missing: that needs a right which its owner may not have.
DO $$ BEGIN
    IF to_regnamespace('@schema') IS NULL THEN
        CREATE SCHEMA @schema;
    END IF;
END $$;
"""


def quoted(schema: str) -> str:
    """Return `schema` as SQL has it, in which case counts."""
    return f'"{schema}"'
