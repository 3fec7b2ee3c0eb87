"""The same as `backends`: in the released original they are found here."""

from acked.compat._aliases import install

install(__name__)
