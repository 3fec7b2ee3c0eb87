"""`python -m acked` is `acked`."""

from acked.cli.main import main

if __name__ == "__main__":
    main()
