"""`broadcaster`, as `acked` has it: for applications whose imports cannot be changed."""

from acked.compat._aliases import install

install(__name__)
