"""`python -m clipsieve` is the command line."""

from clipsieve.cli import main

if __name__ == "__main__":
    main()
