"""`python -m latens_serving.mirror` is `latens-mirror`."""

from latens_serving.mirror.cli import main

if __name__ == "__main__":
    main()
