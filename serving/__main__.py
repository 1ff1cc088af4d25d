"""`python -m serving` is `latens-serve`."""

from serving.cli import main

if __name__ == "__main__":
    main()
