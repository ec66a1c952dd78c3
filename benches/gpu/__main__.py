"""See `gpu.run`."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).parents[1])  # `python benches/gpu` puts the folder of this file there

from gpu.run import main  # noqa: E402

main()
