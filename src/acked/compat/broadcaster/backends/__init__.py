"""One module for each kind of URL, named as in the original."""
