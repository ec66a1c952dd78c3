"""``python -m rgru``: the command line."""

import sys

from rgru.cli import main

if __name__ == "__main__":
    sys.exit(main())
