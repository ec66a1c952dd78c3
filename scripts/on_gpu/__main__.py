"""Run rgru on a GPU for the first time, in stages, and bring back what they found.

Needs CuPy, PyTorch, pytest and compute-sanitizer, and the core in ``python/rgru`` as maturin builds it, which every
Python can load; no network and no Rust. A stage that fails or hangs does not stop the others, unless it is the first,
or the GPU does not answer afterwards. Prints a table at the end; logs and results go to ``--out``.

    bash scripts/on_gpu.sh --out results                                                       # 500 s
    bash scripts/on_gpu.sh --out again --budget 140 --cache results/cupy-cache.tar.xz environment smoke inference
    bash scripts/on_gpu.sh --out profile --cell 'float32 16 1024 PACKETS backward' profile     # with ncu
"""

from __future__ import annotations

import argparse
import os
import sys
import tarfile
import tempfile
from functools import partial
from lzma import LZMAError
from pathlib import Path

from runner import Runner
from stages import FIRST, LAST, STAGES, Places

MOST_FILES, MOST_BYTES = 8, 16 * 2**20
"""What comes back from the machine."""


def main() -> int:
    """Run the stages; return 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    usual = [name for name, stage in STAGES.items() if stage.usual]
    names = f"default, in this order: {', '.join(usual)}; others: {', '.join({*STAGES} - {*usual})}"
    parser.add_argument("stages", nargs="*", metavar="STAGE", help=names)
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="for logs and results")
    parser.add_argument("--budget", type=float, default=500, metavar="SECONDS", help="of all stages (default: 500)")
    parser.add_argument("--cache", type=Path, metavar="FILE", help="the cupy-cache.tar.xz of an earlier run")
    parser.add_argument(
        "--cell",
        default="bfloat16 16 1024",
        help="what `profile` runs: precision, B, H, perhaps a form of the kernels and the way (default: %(default)s)",
    )
    parser.add_argument("--emulated", action="store_true", help="without a GPU: the stages that an emulator can run")
    options = parser.parse_args()
    unknown = [name for name in options.stages if name not in STAGES]
    if unknown:
        parser.error(f"STAGE: expected some of {', '.join(STAGES)}, got {', '.join(unknown)}")
    options.out.mkdir(parents=True, exist_ok=True)
    # A process that could not be ended may still write there.
    with tempfile.TemporaryDirectory(prefix="rgru-on-gpu-", ignore_cleanup_errors=True) as scratch:
        places = Places(options.out.resolve(), Path(scratch), options.emulated, options.cell)
        if options.cache:
            try:
                with tarfile.open(options.cache) as archive:
                    archive.extractall(places.cupy_cache, filter="data")
            except (OSError, EOFError, LZMAError, tarfile.TarError) as error:
                print(f"--cache: {error}; everything is compiled again", flush=True)
        os.environ.update(places.environment())
        runner = Runner(options.out / "log.txt", options.budget, alive=places.alive())
        names = options.stages or usual
        for name in names:
            stage = STAGES[name]
            kept = STAGES[LAST].expected if LAST in names and name != LAST else 0
            if options.emulated and not stage.emulated:
                runner.skip(name, "needs a GPU")
            elif name != LAST and not runner.answers:
                runner.skip(name, "the GPU does not answer")
            elif name != LAST and FIRST in runner.failed:
                runner.skip(name, f"{FIRST} has failed")
            elif stage.if_failed and stage.if_failed not in runner.failed:
                runner.skip(name, f"{stage.if_failed} has not failed")
            else:
                runner.run(name, partial(stage.command, places), stage.seconds, stage.telling, kept=kept)
    trim(options.out)
    print(runner.table())
    return 1 if runner.failed else 0


def trim(folder: Path) -> None:
    """Keep what may come back: the newest files, none too large; the log and the results first, pictures last."""
    files = sorted((path for path in folder.rglob("*") if path.is_file()), key=lambda path: -path.stat().st_mtime)
    files.sort(key=lambda path: (path.name != "log.txt", path.suffix != ".json", path.suffix == ".png"))
    small = [path for path in files if path.stat().st_size <= MOST_BYTES]
    for path in {*files} - {*small[:MOST_FILES]}:
        print(f"left out: {path} ({path.stat().st_size:,} bytes)")
        path.unlink()


if __name__ == "__main__":
    sys.exit(main())
