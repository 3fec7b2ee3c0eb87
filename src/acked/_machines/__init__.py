"""Pure tables and functions: no loop, no clock, no chance. Each opens with its rules."""
