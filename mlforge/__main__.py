"""``python -m mlforge``."""

from mlforge.cli.app import main

if __name__ == "__main__":
    main()
