"""Pack a folder into a .tar.xz, fast rather than small: archive.py FILE FOLDER."""

import sys
import tarfile
from pathlib import Path

if __name__ == "__main__":
    target, folder = map(Path, sys.argv[1:])
    with tarfile.open(target, "w:xz", preset=1) as archive:
        archive.add(folder, ".")
    print(f"{target.name}: {target.stat().st_size / 2**20:.1f} MiB of {len([*folder.rglob('*')])} files")
