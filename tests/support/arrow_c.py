"""Arrow data made of ctypes structs, by the letter of the C data interface or broken at will; counts releases."""

from __future__ import annotations

import ctypes
from ctypes import CFUNCTYPE, POINTER, byref, c_char_p, c_int, c_int64, c_void_p, cast, pointer, py_object

import numpy as np


class Schema(ctypes.Structure):
    pass


class Array(ctypes.Structure):
    pass


class Stream(ctypes.Structure):
    pass


RELEASE_SCHEMA, RELEASE_ARRAY = CFUNCTYPE(None, POINTER(Schema)), CFUNCTYPE(None, POINTER(Array))
RELEASE_STREAM = CFUNCTYPE(None, POINTER(Stream))
GET_SCHEMA = CFUNCTYPE(c_int, POINTER(Stream), POINTER(Schema))
GET_NEXT = CFUNCTYPE(c_int, POINTER(Stream), POINTER(Array))
GET_LAST_ERROR = CFUNCTYPE(c_void_p, POINTER(Stream))

Schema._fields_ = [
    ("format", c_char_p),
    ("name", c_char_p),
    ("metadata", c_char_p),
    ("flags", c_int64),
    ("n_children", c_int64),
    ("children", POINTER(POINTER(Schema))),
    ("dictionary", POINTER(Schema)),
    ("release", RELEASE_SCHEMA),
    ("private_data", c_void_p),
]
Array._fields_ = [
    ("length", c_int64),
    ("null_count", c_int64),
    ("offset", c_int64),
    ("n_buffers", c_int64),
    ("n_children", c_int64),
    ("buffers", POINTER(c_void_p)),
    ("children", POINTER(POINTER(Array))),
    ("dictionary", POINTER(Array)),
    ("release", RELEASE_ARRAY),
    ("private_data", c_void_p),
]
Stream._fields_ = [
    ("get_schema", GET_SCHEMA),
    ("get_next", GET_NEXT),
    ("get_last_error", GET_LAST_ERROR),
    ("release", RELEASE_STREAM),
    ("private_data", c_void_p),
]


class Node:
    """One level of a column: the two structs, and what they point to.

    `buffers` are NumPy arrays, addresses or None. Further fields of the structs may be set, to break them, before the
    column is consumed. The lists of releases are shared by all levels; only the topmost level may be released.
    """

    def __init__(self, form, length, buffers, children=(), *, null_count=0, offset=0, name="item"):
        self.released: list[str] = []
        self.kept = buffers
        self.children = list(children)
        addresses = [b.ctypes.data if isinstance(b, np.ndarray) else b for b in buffers]
        self._buffers = (c_void_p * max(1, len(addresses)))(*addresses)
        self._schemas = (POINTER(Schema) * max(1, len(children)))(*(pointer(child.schema) for child in children))
        self._arrays = (POINTER(Array) * max(1, len(children)))(*(pointer(child.array) for child in children))
        self._callbacks = (RELEASE_SCHEMA(self._release("schema")), RELEASE_ARRAY(self._release("array")))
        self.schema = Schema(
            format=form.encode(),
            name=name.encode(),
            flags=2,
            n_children=len(children),
            children=self._schemas,
            release=self._callbacks[0],
        )
        self.array = Array(
            length=length,
            null_count=null_count,
            offset=offset,
            n_buffers=len(buffers),
            n_children=len(children),
            buffers=self._buffers,
            children=self._arrays,
            release=self._callbacks[1],
        )

    def _release(self, what):
        def release(struct):
            self.released.append(what)
            struct.contents.release = type(struct.contents.release)()

        return release

    def nodes(self):
        """Give this level and all below."""
        yield self
        for child in self.children:
            yield from child.nodes()

    def __arrow_c_array__(self, requested_schema=None):
        return capsule(self.schema, b"arrow_schema"), capsule(self.array, b"arrow_array")


class Chunks:
    """A stream of the given nodes, of one type; or of a failure at the end."""

    def __init__(self, nodes, error=None):
        self.nodes, self.error = list(nodes), error
        self.released = 0
        self.left = list(nodes)
        self.message = ctypes.create_string_buffer((error or "").encode())
        self._callbacks = (
            GET_SCHEMA(self._get_schema),
            GET_NEXT(self._get_next),
            GET_LAST_ERROR(lambda _: ctypes.addressof(self.message)),
            RELEASE_STREAM(self._release),
        )
        self.stream = Stream(*self._callbacks)

    def _get_schema(self, _, out):
        ctypes.memmove(out, byref(self.nodes[0].schema), ctypes.sizeof(Schema))
        return 0

    def _get_next(self, _, out):
        if self.left:
            ctypes.memmove(out, byref(self.left.pop(0).array), ctypes.sizeof(Array))
            return 0
        out.contents.release = RELEASE_ARRAY()
        return 5 if self.error else 0

    def _release(self, stream):
        self.released += 1
        stream.contents.release = RELEASE_STREAM()

    def __arrow_c_stream__(self, requested_schema=None):
        return capsule(self.stream, b"arrow_array_stream")


_new = ctypes.pythonapi.PyCapsule_New
_new.restype, _new.argtypes = py_object, [c_void_p, c_char_p, c_void_p]


def capsule(struct, name):
    """Give a capsule that points to a struct; it must outlive the capsule, and the name too."""
    return _new(cast(pointer(struct), c_void_p), name, None)


def numbers(values, dtype="float32", **options):
    """A level of numbers."""
    letters = {"float32": "f", "float64": "g", "float16": "e", "int8": "c", "int64": "l"}
    values = np.asarray(values, dtype)
    return Node(letters[values.dtype.name], len(values), [None, values], **options)


def fixed(values, width, **options):
    """Lists of `width` values each."""
    options.setdefault("length", values.array.length // max(width, 1))
    return Node(f"+w:{width}", options.pop("length"), [None], [values], **options)


def lists(values, offsets, **options):
    """Lists from offset to offset."""
    offsets = np.asarray(offsets, options.pop("dtype", np.int32))
    form = "+l" if offsets.dtype == np.int32 else "+L"
    return Node(form, options.pop("length", len(offsets) - 1), [None, offsets], [values], **options)


def structs(length, fields, **options):
    """A struct or table of named columns."""
    for name, node in fields.items():
        node.name = name.encode()
        node.schema.name = node.name
    return Node("+s", length, [None], list(fields.values()), **options)
