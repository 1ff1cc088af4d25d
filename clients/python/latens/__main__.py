"""`python -m latens`: the command line."""

from latens.cli import main

if __name__ == "__main__":
    main()
