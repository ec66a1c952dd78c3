"""Files of unknown origin: damaged, truncated, with claims beyond their size, with code. Nothing but a ValueError."""

import json
import pickle
import random
import struct
import time
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

import rgru
from rgru.convert import _keras_process

h5py = pytest.importorskip("h5py")

FOLDER = Path(__file__).parents[1] / "goldens" / "models"


def damaged(data, seed):
    """Return a file's bytes truncated, with flipped bits, with large numbers, or with random bytes."""
    draw = random.Random(seed)
    new, kind = bytearray(data), draw.randrange(4)
    if kind == 0:
        return bytes(new[: draw.randrange(len(new))])
    for _ in range(draw.randrange(1, 16)):
        at = draw.randrange(len(new) - 8)
        if kind == 1:
            new[at] ^= 1 << draw.randrange(8)
        elif kind == 2:
            new[at : at + 8] = draw.choice(
                [b"\xff" * 8, struct.pack("<q", 2**40), bytes(8), struct.pack("<q", 2**31 - 1)]
            )
        else:
            new[at : at + 8] = draw.randbytes(8)
    return bytes(new)


def refuse(read, path, match, *args):
    """Check that a file is refused by its name, soon, and without more than a few megabytes."""
    tracemalloc.start()
    start = time.perf_counter()
    try:
        with pytest.raises(ValueError, match=match) as caught:
            read(path, *args)
        assert tracemalloc.get_traced_memory()[1] < 100e6
    finally:
        tracemalloc.stop()
    assert time.perf_counter() - start < 30
    assert str(caught.value).startswith(str(path))


def attempt(read, path, *args):
    """Return a GRU, or the error that names the file."""
    try:
        return read(path, *args)
    except ValueError as error:
        return error


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """Whole files by suffix."""
    folder = tmp_path_factory.mktemp("samples")
    state = rgru.convert.torch.to_state_dict(rgru.GRU(3, 4, reset_after=True))
    np.savez(folder / "sample.npz", **state)
    from safetensors.numpy import save_file

    save_file(state, folder / "sample.safetensors")
    paths = [FOLDER / "torch_checkpoint.pt", folder / "sample.npz", folder / "sample.safetensors"]
    return {path.suffix: path.read_bytes() for path in paths}


@pytest.mark.parametrize("suffix", [".pt", ".npz", ".safetensors"])
def test_damaged_files_of_arrays(samples, tmp_path, suffix):
    """A file is refused or, where the damage hits a weight that no checksum covers, read as the GRU that it was."""
    path, refused = tmp_path / f"damaged{suffix}", 0
    prefix = "model.encoder.gru" if suffix == ".pt" else ""
    expected = {".pt": 2}.get(suffix, 1)
    start = time.perf_counter()
    for seed in range(400):
        path.write_bytes(damaged(samples[suffix], seed))
        found = attempt(rgru.from_torch, path, prefix)
        if isinstance(found, ValueError):
            refused += 1
            assert str(found).startswith(str(path))
        else:
            assert found.num_layers == expected
    assert refused > 100
    assert time.perf_counter() - start < 60


@pytest.mark.parametrize("name", ["keras_3_15_names.h5", "keras_3_3_names.keras"])
def test_damaged_files_of_keras(tmp_path, name):
    path, refused = tmp_path / name, 0
    for seed in range(12):
        path.write_bytes(damaged((FOLDER / name).read_bytes(), seed))
        found = attempt(rgru.from_keras, path, "both")
        if isinstance(found, ValueError):
            refused += 1
            assert str(found).startswith(str(path))
        else:
            assert found.hidden_size == 4
    assert refused


# -- torch.save --------------------------------------------------------------------------------------------------------


def torch_zip(path, code, storages=(), *, order="little", compression=zipfile.ZIP_STORED):
    """Write an archive with a pickle of these opcodes and storages of these bytes, or of as many zeros."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + code + b".")
        archive.writestr("archive/byteorder", order)
        for key, content in enumerate(storages):
            archive.writestr(f"archive/data/{key}", bytes(content))


def opcodes(value):
    """Return the opcodes of a value by themselves."""
    return pickle.dumps(value, 2)[2:-1]


def tensor(count, offset, shape, strides):
    """Return the opcodes of a tensor in the storage 0."""
    head = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\n" + opcodes("0") + opcodes("cpu") + opcodes(count) + b"tQ"
    parts = b"".join(opcodes(one) for one in (offset, shape, strides, False, None))
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + head + parts + b"tR"


def state(value):
    return b"}" + opcodes("weight_hh_l0") + value + b"s"


@pytest.mark.parametrize("order", ["little", "big"])
def test_an_honest_file_of_these_opcodes(tmp_path, order):
    """So that hostile ones are not refused for another reason; and in both orders of bytes."""
    path = tmp_path / "model.pt"
    numbers = np.arange(6, dtype={"little": "<f4", "big": ">f4"}[order])
    found = state(tensor(6, 0, (3, 1), (1, 1))) + opcodes("weight_ih_l0") + tensor(6, 5, (3, 1), (0, 1)) + b"s"
    torch_zip(path, found, [numbers.tobytes()], order=order)
    gru = rgru.from_torch(path)
    np.testing.assert_array_equal(gru.params["layers.0.fwd.U"], [[0], [-1], [2]])
    np.testing.assert_array_equal(gru.params["layers.0.fwd.W"], [[5], [-5], [5]])


def test_code_in_a_pickle_is_not_run(tmp_path):
    path, mark = tmp_path / "model.pt", tmp_path / "mark"
    for module, name in (("os", "mkdir"), ("posix", "mkdir"), ("builtins", "eval"), ("torch", "load")):
        torch_zip(path, state(f"c{module}\n{name}\n(".encode() + opcodes(str(mark)) + b"tR"))
        refuse(rgru.from_torch, path, rf"{module}\.{name}, which is not read; save a state dict alone")
    assert not mark.exists()


@pytest.mark.parametrize(
    ("code", "match"),
    [
        (state(b"r\xff\xff\xff\xff"), "expected"),  # a place in the memo beyond any list
        (state(b"\x8e" + struct.pack("<Q", 2**40)), "expected"),  # bytes of 2**40
        (state(b"\x96" + struct.pack("<Q", 2**40)), "expected"),  # an array of bytes of 2**40
        (state(b"X" + struct.pack("<I", 2**31)), "expected"),  # a string of 2**31
        (state(tensor(2**40, 0, (3, 1), (1, 1))), "48 bytes for 1099511627776 numbers"),
        (state(tensor(12, 0, (2**40, 1), (0, 1))), r"a tensor of shape \(1099511627776, 1\) in a storage of 12"),
        (state(tensor(12, 0, (2**20, 2**20), (0, 0))), r"a tensor of shape"),
        (state(tensor(12, 10, (3, 1), (1, 1))), "a tensor that ends at 12 in a storage of 12"),
        (state(tensor(12, -1, (3, 1), (1, 1))), "a tensor of shape"),
        (state(tensor(12, 0, (3, 1), (-1, 1))), "a tensor of shape"),
        (state(tensor(12, 0, (3, 1), (1,))), "without a storage, or with sizes"),
        (state(tensor(12, 0, (3.0, 1), (1, 1))), "without a storage, or with sizes"),
        (state(tensor(12, 0, (3, 1, *[1] * 99), (1, 1, *[1] * 99))), "expected"),
        (b"})q\x01" + b"h\x01h\x01\x86q\x01" * 60 + b"Ns", "keys of the type tuple"),  # hashed for ever
        (b"}" + opcodes("a") + b"ccollections\nOrderedDict\n" + b"N}" + opcodes("x") + b"Ns\x86bs", "expected"),
        (b"]" * 100000, "expected"),
        (b"}q\x00" + opcodes("a") + b"h\x00s", "expected"),  # a dictionary within itself
        (b"N", "expected a state dict, got NoneType"),
        (b"", "expected"),
        (b"0" * 9, "expected"),
    ],
)
def test_hostile_pickles(tmp_path, code, match):
    path = tmp_path / "model.pt"
    torch_zip(path, code, [48])
    refuse(rgru.from_torch, path, match)


def test_hostile_archives_of_torch(tmp_path):
    path = tmp_path / "model.pt"
    torch_zip(path, state(tensor(2**26, 0, (3, 1), (1, 1))), [2**28], compression=zipfile.ZIP_DEFLATED)
    refuse(rgru.from_torch, path, "is compressed, which PyTorch does not do")
    torch_zip(path, state(tensor(3, 0, (3, 1), (1, 1))))
    refuse(rgru.from_torch, path, "archive/data/0")
    torch_zip(path, b"]" * (17 << 20))
    refuse(rgru.from_torch, path, "names of 17825795 bytes, above 16777216")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("nothing", b"")
    refuse(rgru.from_torch, path, "0 members data.pkl")
    path.write_bytes(b"PK\x03\x04")
    refuse(rgru.from_torch, path, "expected")
    path.write_bytes(b"")
    refuse(rgru.from_torch, path, "expected an archive of torch.save, got another file")


# -- safetensors and NumPy ---------------------------------------------------------------------------------------------


def test_hostile_safetensors(tmp_path):
    path = tmp_path / "model.safetensors"

    def write(header, data=b""):
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + data)

    path.write_bytes(struct.pack("<Q", 2**40) + b"{}")
    refuse(rgru.from_torch, path, "expected a safetensors file")
    for kind in ("F32", "BF16"):
        write({"weight_hh_l0": {"dtype": kind, "shape": [2**40], "data_offsets": [0, 2**42]}})
        refuse(rgru.from_torch, path, "expected a safetensors file")
    write({"weight_hh_l0": {"dtype": "F32", "shape": [3, 1], "data_offsets": [4, 16]}}, bytes(16))
    refuse(rgru.from_torch, path, "expected a safetensors file")
    write(b"[" * 100000)
    refuse(rgru.from_torch, path, "expected a safetensors file")
    write({"weight_hh_l0": {"dtype": "F8_E4M3", "shape": [3, 1], "data_offsets": [0, 3]}}, bytes(3))
    refuse(rgru.from_torch, path, "weight_hh_l0: expected one of F16, .*got F8_E4M3")


def test_hostile_archives_of_numpy(tmp_path):
    path = tmp_path / "model.npz"
    np.savez_compressed(path, weight_hh_l0=np.zeros((3 << 12, 1 << 12), np.float32))
    refuse(rgru.from_torch, path, r"weight_hh_l0\.npy: expected at most 100 bytes for each one stored, got 2013")
    np.savez(path, weight_hh_l0=np.array([{}], dtype=object))
    refuse(rgru.from_torch, path, "expected an archive of NumPy's arrays")
    header = "{'descr': '<f4', 'fortran_order': False, 'shape': (3298534883328, 1099511627776)}".ljust(117) + "\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weight_hh_l0.npy", b"\x93NUMPY\x01\x00v\x00" + header.encode())
    refuse(rgru.from_torch, path, "expected an archive of NumPy's arrays")


# -- Keras -------------------------------------------------------------------------------------------------------------


def with_dataset(path, make):
    """Write a file of Keras whose recurrent kernel `make` creates in its group."""
    config = {"class_name": "Sequential", "config": [{"class_name": "GRU", "config": {"name": "gru", "units": 4}}]}
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = "3.0.0"
        file.attrs["model_config"] = json.dumps(config)
        group = file.create_group("model_weights/gru")
        group.attrs["weight_names"] = ["kernel", "recurrent"]
        group["kernel"] = np.zeros((3, 12), np.float32)
        make(group)


def test_hostile_datasets(tmp_path):
    path, other = tmp_path / "model.h5", tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["secret"] = np.zeros((4, 12), np.float32)
    layout = h5py.VirtualLayout((4, 12), np.float32)
    layout[:] = h5py.VirtualSource(str(other), "secret", (4, 12))
    cases = {
        r"expected at most 100 bytes for each one stored, got 4398": lambda group: group.create_dataset(
            "recurrent", (2**40,), np.float32, chunks=(1024,)
        ),
        r"expected at most 100 bytes for each one stored, got 2684": lambda group: group.create_dataset(
            "recurrent", data=np.zeros((2**13, 2**13), np.float32), chunks=(2**13, 2**10), compression="gzip"
        ),
        r"expected 'recurrent' in '/model_weights/gru', got none": lambda group: group.__setitem__(
            "recurrent", h5py.ExternalLink(str(other), "secret")
        ),
        r"recurrent: expected numbers in this file": lambda group: group.create_virtual_dataset("recurrent", layout),
        r"recurrent: expected numbers in this file, got": lambda group: group.create_dataset(
            "recurrent", (4, 12), np.float32, external=[(str(other), 0, 192)]
        ),
        r"recurrent: expected an array of floating-point": lambda group: group.create_dataset("recurrent", data=[1]),
        r"recurrent: expected an array of floating-point numbers": lambda group: group.create_group("recurrent"),
        r"expected 'recurrent' in": lambda group: None,
    }
    for match, make in cases.items():
        with_dataset(path, make)
        refuse(rgru.from_keras, path, match)
    with_dataset(path, lambda group: group.create_dataset("recurrent", data=np.zeros((4, 12), np.float32)))
    refuse(rgru.from_keras, path, r"layers\[0\]\.weights: expected 3 arrays, got 2")


def test_hostile_archives_of_keras(tmp_path):
    path = tmp_path / "model.keras"
    whole = {"config.json": b"{}", "metadata.json": b'{"keras_version": "3.0"}', "model.weights.h5": b""}

    def write(**members):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in (whole | members).items():
                archive.writestr(name, content)

    write(**{"config.json": bytes(2**28)})
    refuse(rgru.from_keras, path, r"config\.json: expected at most 100 bytes for each one stored")
    write(**{"config.json": random.Random(0).randbytes(9 << 20)})
    refuse(rgru.from_keras, path, "expected settings of at most 8388608 bytes, got 9437184")
    write(**{"config.json": b"[" * 100000})
    refuse(rgru.from_keras, path, "expected")
    write(**{"config.json": b"{"})
    refuse(rgru.from_keras, path, "expected settings as JSON, got b'{'")
    write()
    refuse(rgru.from_keras, path, "expected a model that Keras has saved, got")
    good = (FOLDER / "keras_3_15_stack.keras").read_bytes()
    path.write_bytes(good)
    with zipfile.ZipFile(path) as archive:
        whole["model.weights.h5"] = archive.read("model.weights.h5")
    for config in (
        "[]",
        "1",
        '{"config": 1}',
        '{"config": {"layers": [1]}}',
        '{"config": {"layers": [{"class_name": 1}]}}',
    ):
        write(**{"config.json": config})
        refuse(rgru.from_keras, path, "expected")


def test_a_file_that_blocks_the_library(tmp_path, monkeypatch):
    """A wrong size of a string keeps version 2.0 of the HDF5 library busy for ever."""
    monkeypatch.setattr(_keras_process, "_SECONDS", 3)
    data = bytearray((FOLDER / "keras_3_15_names.h5").read_bytes())
    size = data.index(b"\x19\0\0\0\0\0\0\0\x1b") + 8
    data[size : size + 2] = struct.pack("<H", 256)
    path = tmp_path / "model.h5"
    path.write_bytes(data)
    start = time.perf_counter()
    found = attempt(rgru.from_keras, path, "both")
    assert time.perf_counter() - start < 20
    assert isinstance(found, ValueError)


@pytest.mark.parametrize(
    ("code", "match"),
    [
        ("import time; time.sleep(60)", "expected a model that Keras has saved, got none in 1 s"),
        ("import os; os.abort()", "expected a model that Keras has saved, got a crash"),
        (_keras_process._CODE.replace("main(sys.argv[1])", "b = bytes(3 << 30)"), "MemoryError"),
    ],
    ids=["blocks", "crashes", "allocates"],
)
def test_a_process_that_fails(monkeypatch, code, match):
    """Whatever the library does to the process that reads a file, there is an error."""
    monkeypatch.setattr(_keras_process, "_SECONDS", 1 if "sleep" in code else 20)
    limited = code.replace("b = bytes", "from rgru.convert._claims import limit_memory; limit_memory(0); b = bytes")
    monkeypatch.setattr(_keras_process, "_CODE", limited)
    refuse(rgru.from_keras, FOLDER / "keras_3_15_stack.keras", match)
