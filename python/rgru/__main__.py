"""``python -m rgru``: the command line."""

import sys

from rgru._cli import main

if __name__ == "__main__":
    sys.exit(main())
