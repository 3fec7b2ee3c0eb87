"""The pictures of the explanation, made from the code: `python -m tests.meta.architecture`."""
