"""`python -m latens_bulk` is the command `latens-bulk`."""

from latens_bulk.cli import main

if __name__ == "__main__":
    main()
