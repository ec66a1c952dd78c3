"""Make ``python/rgru/datasets/japanese_vowels.parquet`` from the two ``.ts`` files.

The Japanese Vowels set in its original, unpadded form is carried by the wheels of
aeon and sktime (byte-identical files; aeon 1.6.0 was used). Take them from the wheel
and run this script::

    pip download --no-deps aeon==1.6.0 -d wheel
    unzip wheel/aeon-*.whl 'aeon/datasets/data/JapaneseVowels/*' -d wheel
    python scripts/make_japanese_vowels.py wheel/aeon/datasets/data/JapaneseVowels

The directory also holds ``*_eq_*.ts``, which are interpolated to 25 steps: not used.

Each data line of a ``.ts`` file is one recording: 12 coefficients separated by ``:``,
each a comma-separated series over time, then ``:`` and the speaker. Here they are
transposed to (time, coefficient), cast to float32, and written in their original order.
Needs numpy and pyarrow (26.0.1 was used).
"""

import argparse
import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

COEFFICIENTS = 12
OUTPUT = Path(__file__).parents[1] / "python/rgru/datasets/japanese_vowels.parquet"
SOURCES = {  # split -> (file name, SHA-256)
    "train": (
        "JapaneseVowels_TRAIN.ts",
        "68a430eabd919cc77f40b1f5f3bc0dcafacc1486bca9260785aeb7d262cc78cd",
    ),
    "test": (
        "JapaneseVowels_TEST.ts",
        "b3d41d6a0ca3bcad3afb9ca7d4365382aa51341e2e58bae2a574babdda5b9462",
    ),
}
METADATA = {
    "title": "Japanese Vowels",
    "creators": "Mineichi Kudo, Jun Toyama, Masaru Shimbo",
    "source": "UCI Machine Learning Repository, https://doi.org/10.24432/C5NS47",
    "license": "CC BY 4.0",
    "changes": "transposed to (time, coefficient); cast to float32; stored as Parquet",
}


def read_ts(path):
    """Read one ``.ts`` file into a list of (T_i, 12) float32 arrays and a list of speakers."""
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    recordings, speakers = [], []
    for line in filter(None, lines[lines.index("@data") + 1 :]):
        *channels, speaker = line.split(":")
        # np.array refuses channels of different lengths
        values = np.array([channel.split(",") for channel in channels]).astype(np.float32)
        if values.shape[0] != COEFFICIENTS or not np.isfinite(values).all():
            raise ValueError(f"{path.name}: malformed recording {len(recordings)}")
        recordings.append(np.ascontiguousarray(values.T))
        speakers.append(int(speaker))
    return recordings, speakers


def to_table(split, recordings, speakers):
    """Build the Arrow table of one split; ``values`` is list<fixed_size_list<float32>[12]>."""
    offsets = np.cumsum([0, *map(len, recordings)], dtype=np.int32)
    steps = pa.FixedSizeListArray.from_arrays(pa.array(np.concatenate(recordings).ravel()), COEFFICIENTS)
    return pa.table(
        {
            "split": pa.array([split] * len(recordings), pa.string()),
            "speaker": pa.array(speakers, pa.int8()),
            "values": pa.ListArray.from_arrays(pa.array(offsets), steps),
        }
    )


def main():
    """Check the sources, convert them, write the Parquet file."""
    parser = argparse.ArgumentParser(description="Make the Japanese Vowels Parquet file.")
    parser.add_argument("directory", type=Path, help="folder that holds the two .ts files")
    parser.add_argument("-o", "--output", type=Path, default=OUTPUT)
    args = parser.parse_args()

    tables = []
    for split, (name, expected) in SOURCES.items():
        path = args.directory / name
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if digest != expected:
            raise SystemExit(f"{path}: expected SHA-256 {expected}, got {digest}")
        tables.append(to_table(split, *read_ts(path)))
    table = pa.concat_tables(tables).combine_chunks().replace_schema_metadata(METADATA)

    # Splitting the bytes of the floats into streams lets zstd see their exponents together.
    pq.write_table(
        table,
        args.output,
        compression="zstd",
        compression_level=19,
        use_dictionary=["split", "speaker"],
        use_byte_stream_split=["values.list.element.list.element"],
    )
    print(f"{args.output}: {table.num_rows} recordings, {args.output.stat().st_size} bytes")


if __name__ == "__main__":
    main()
