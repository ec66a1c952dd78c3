"""Build the wheel and check its promised size: under 3 MB without the data set."""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

LIMIT = 3_000_000

with tempfile.TemporaryDirectory() as folder:
    subprocess.run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", folder, "."], check=True)
    (wheel,) = Path(folder).glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        data = sum(item.compress_size for item in archive.infolist() if item.filename.endswith(".parquet"))
    size = wheel.stat().st_size - data
    print(f"{wheel.name}: {size} bytes without the data set ({data} bytes); limit {LIMIT}")
    sys.exit(size >= LIMIT)
