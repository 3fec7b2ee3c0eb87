"""The same as `backends`: in the released original they are found here."""
