"""`python -m latens_serving` is `latens-serve`."""

from latens_serving.cli import main

if __name__ == "__main__":
    main()
