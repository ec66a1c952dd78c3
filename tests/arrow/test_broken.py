"""Structs that break the rules of the C data interface are errors, and never read past what they refer to."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

import arrow_c
import rgru
from arrow_c import Node, fixed, lists, numbers, structs

HUGE = 2**62


def pairs(offsets=(0, 2, 2, 3), **options):
    return lists(fixed(numbers(np.arange(6)), 2), offsets, **options)


def refused(column, expected, error=ValueError):
    with pytest.raises(error, match=expected):
        rgru.Ragged.from_arrow(column)
    assert set(column.released) <= {"schema", "array"}
    assert len(column.released) == len(set(column.released))


@pytest.mark.parametrize(
    ("offsets", "expected"),
    [
        ([0, 2, 1, 3], "list offset 1 in row 2, after 2"),
        ([-1, 0, 1, 3], "list offset -1 in row 0, after 0"),
        ([0, 2, 2, 4], "list offset 4 in row 3, after 2 and with 3 values in all"),
        ([2**31 - 1] * 4, "list offset 2147483647 in row 0"),
    ],
)
@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_offsets(offsets, expected, dtype):
    refused(pairs(offsets, dtype=dtype), rf"^column: expected well-formed Arrow data, got {expected}")
    inner = lists(numbers(np.arange(3)), np.array(offsets, dtype), dtype=dtype)
    refused(lists(inner, [0, 3]), rf"well-formed Arrow data, got {expected}")


def test_offsets_of_64_bits_do_not_wrap():
    refused(pairs([0, HUGE, HUGE, HUGE], dtype=np.int64), f"list offset {HUGE} in row 1")
    refused(pairs([0, 2, 2, -(2**63)], dtype=np.int64), f"list offset {-(2**63)} in row 3")


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("length", -1, "length -1"),
        ("length", HUGE, "offset 0 and length"),
        ("length", 2**63 - 1, "offset 0 and length"),
        ("offset", -1, "offset -1"),
        ("offset", HUGE, f"offset {HUGE} and length"),
        ("offset", 2**63 - 1, "offset 9223372036854775807 and length"),
        ("null_count", -2, "null count -2"),
        ("null_count", 1, "1 nulls, but no validity bitmap"),
        ("n_buffers", 0, "0 buffers instead of"),
        ("n_buffers", 5, "5 buffers instead of"),
        ("n_buffers", -1, "-1 buffers instead of"),
        ("n_children", -1, "number of children -1"),
        ("n_children", 3, "3 children instead of|a child that is null|3 children at"),
        ("n_children", HUGE, f"{HUGE} children at"),
        ("buffers", None, "buffers at"),
    ],
)
@pytest.mark.parametrize("level", [0, 1, 2], ids=["lists", "steps", "values"])
def test_fields(field, value, expected, level):
    column = pairs()
    array = list(column.nodes())[level].array
    if field == "buffers":
        array.buffers = type(array.buffers)()
    elif field == "n_children" and value == 3:
        array.n_children = 3
        array.children = (ctypes.POINTER(arrow_c.Array) * 3)()
    else:
        setattr(array, field, value)
    refused(column, expected, (ValueError, MemoryError))


@pytest.mark.parametrize("level", [0, 1, 2])
def test_children_that_are_too_short(level):
    column = pairs()
    list(column.nodes())[level].array.length -= 1
    if level == 0:
        assert len(rgru.Ragged.from_arrow(column)) == 2
    else:
        refused(column, "in all$|fewer than its parent needs")


def test_null_pointers_with_lengths():
    values = numbers(np.arange(6))
    values.array.buffers[1] = None
    refused(lists(values, [0, 6]), "6 numbers at a null pointer")
    column = pairs()
    column.array.buffers[1] = None
    refused(column, "4 numbers at a null pointer")


def test_null_pointers_without_lengths():
    values = numbers([])
    values.array.buffers[1] = None
    empty = lists(values, [0])
    empty.array.buffers[1] = None
    assert len(rgru.Ragged.from_arrow(empty)) == 0
    values = numbers([])
    values.array.buffers[1] = None
    assert rgru.Ragged.from_arrow(lists(values, [0, 0, 0])).lengths.tolist() == [0, 0]


def test_addresses_past_the_end_of_memory():
    values = numbers(np.arange(6))
    values.array.buffers[1] = 2**64 - 8
    refused(lists(values, [0, 6]), "past the end of memory")


@pytest.mark.parametrize("what", ["children", "child"])
@pytest.mark.parametrize("side", ["schema", "array"])
def test_missing_children(side, what):
    column = pairs()
    struct = getattr(column, side)
    if what == "children":
        struct.children = type(struct.children)()
    else:
        struct.children[0] = type(struct.children[0])()
    refused(column, "1 children at|a child that is null")


def test_odd_pointers():
    column = pairs()
    address = ctypes.cast(column.array.children[0], ctypes.c_void_p).value
    column.array.children[0] = ctypes.cast(address + 1, ctypes.POINTER(arrow_c.Array))
    refused(column, "a child at an unaligned address")
    column = pairs()
    address = ctypes.cast(column.array.buffers, ctypes.c_void_p).value
    column.array.buffers = ctypes.cast(address + 1, ctypes.POINTER(ctypes.c_void_p))
    refused(column, "2 buffers at")


def test_types_with_the_wrong_children():
    column = pairs()
    column.schema.n_children = 0
    refused(column, "a list type with 0 children")
    column = pairs()
    column.schema.n_children = -1
    refused(column, "number of children -1")


@pytest.mark.parametrize(
    "text", ["", "+", "+w", "+w:", "+w:x", "+w:-1", "+w:99999999999999999999", "+l+l", "é", "d", "+q"]
)
def test_unknown_types(text):
    column = pairs()
    column.children[0].schema.format = text.encode()
    refused(column, "expected a list column of numbers", TypeError)
    column = pairs()
    column.schema.format = text.encode()
    refused(column, "expected a list column of numbers", TypeError)


def test_a_type_without_letters():
    column = pairs()
    column.schema.format = None
    refused(column, "expected a list column of numbers", TypeError)


def test_sizes_that_overflow():
    refused(Node(f"+w:{HUGE}", 4, [None], [numbers([1.0])]), "fewer than its parent needs")
    refused(Node(f"+w:{2**63}", 1, [None], [numbers([1.0])]), "fewer than its parent needs")
    refused(lists(Node(f"+w:{HUGE}", 4, [None], [numbers([1.0])]), [0, 4]), "fewer than its parent needs")
    refused(fixed(numbers([]), 0, length=2**45), "cannot allocate", MemoryError)


def test_views_past_the_end():
    def view(starts, sizes, **options):
        buffers = [None, np.array(starts, np.int32), np.array(sizes, np.int32)]
        return Node("+vl", len(starts), buffers, [numbers(np.arange(4))], **options)

    assert rgru.Ragged.from_arrow(view([2, 0], [2, 3])).lengths.tolist() == [2, 3]
    refused(view([2, 3], [2, 2]), "a list view of 2 values from 3 on in row 1, of 4 in all")
    refused(view([-1], [1]), "a list view of 1 values from -1 on")
    refused(view([1], [-1]), "a list view of -1 values")
    refused(view([2**31 - 1], [2**31 - 1]), "a list view")


def test_the_views_of_nulls_may_be_anything():
    marks = np.array([0b101], np.uint8)
    buffers = [marks, np.array([0, -5, 2], np.int32), np.array([2, 99, 1], np.int32)]
    column = Node("+vl", 3, buffers, [numbers(np.arange(4))], null_count=1)
    made = rgru.arrow.predict(rgru.GRU(1, 2), column, on_error="null")
    assert (len(made), made.null_count) == (3, 1)


def test_structs_with_short_columns():
    table = structs(3, {"a": lists(numbers([1, 2, 3]), [0, 1, 2, 3]), "b": lists(numbers([1, 2]), [0, 1, 2])})
    refused(table, "a child of 2 rows, fewer than its parent needs")


@pytest.mark.parametrize("count", [-1, 2**31 - 1])
def test_metadata_with_wrong_lengths(count):
    column = pairs()
    text = ctypes.create_string_buffer(np.array([1, -1 if count > 0 else count, count], np.int32).tobytes() + b"x" * 16)
    column.schema.metadata = ctypes.cast(text, ctypes.c_char_p)
    refused(column, "length of metadata -1")


def test_metadata_are_read():
    def entry(text):
        return np.int32(len(text)).tobytes() + text

    column = pairs()
    pieces = [b"a", b"b", b"ARROW:extension:name", b"me.mine"]
    text = ctypes.create_string_buffer(np.int32(2).tobytes() + b"".join(entry(piece) for piece in pieces))
    column.schema.metadata = ctypes.cast(text, ctypes.c_char_p)
    refused(column, r"got extension<me.mine>$", TypeError)


def test_types_that_contain_themselves():
    column = pairs()
    column.schema.children[0] = ctypes.pointer(column.schema)
    refused(column, r"got list<item: list<.*\.\.\.", TypeError)


class Answers:
    """What `__arrow_c_array__` gives."""

    def __init__(self, answer):
        self.answer = answer

    def __arrow_c_array__(self, requested_schema=None):
        return self.answer


def test_answers_that_are_no_capsules():
    for answer in (None, (), (1,), (1, 2, 3)):
        with pytest.raises(ValueError, match="a result of __arrow_c_array__ that is not a pair of capsules"):
            rgru.Ragged.from_arrow(Answers(answer))
    with pytest.raises(TypeError, match=r"expected a capsule named 'arrow_schema', got <class 'int'>"):
        rgru.Ragged.from_arrow(Answers((1, 2)))


def test_errors_of_the_producer_go_through():
    class Fails:
        def __arrow_c_stream__(self):
            raise LookupError("no such column")

    with pytest.raises(LookupError, match="no such column"):
        rgru.Ragged.from_arrow(Fails())


def test_streams_without_callbacks():
    for field in ("get_schema", "get_next"):
        stream = arrow_c.Chunks([pairs()])
        setattr(stream.stream, field, type(getattr(stream.stream, field))())
        with pytest.raises(ValueError, match=f"a stream without {field}"):
            rgru.Ragged.from_arrow(stream)
        assert stream.released == 1
    stream = arrow_c.Chunks([pairs()], error="unknown")
    stream.stream.get_last_error = arrow_c.GET_LAST_ERROR()
    with pytest.raises(OSError, match="the stream has failed: "):
        rgru.Ragged.from_arrow(stream)


def test_a_stream_of_another_type_than_it_says():
    stream = arrow_c.Chunks([pairs(), numbers([1.0])])
    with pytest.raises(ValueError, match="0 children instead of 1"):
        rgru.Ragged.from_arrow(stream)


# -- many at random ----------------------------------------------------------------------------------------------------

SIZES = [-(2**63), -2, -1, 0, 1, 2, 3, 4, 7, HUGE, 2**63 - 2, 2**63 - 1]
LETTERS = ["f", "g", "e", "c", "l", "L", "+l", "+L", "+w:0", "+w:1", "+w:2", "+w:3", "+s", "+vl", "+vL", "n", "u", "+m"]
LETTERS += ["b", "d:5,1,32", "d:5,-1,64", "d:5"]


def roomy(values, dtype):
    """An array with room around it, so that lengths a little too large, which no check can see, do no harm."""
    room = np.zeros(256, dtype)
    room[128 : 128 + len(values)] = values
    return room[128:]


def random_column(rng):
    def leaf():
        values = numbers(rng.normal(size=12), rng.choice(["float32", "float64", "int8"]))
        values.kept[1] = roomy(values.kept[1], np.float64)
        values.array.buffers[1] = values.kept[1].ctypes.data
        return values

    def nested(child, offsets):
        node = lists(child, offsets)
        node.kept[1] = roomy(node.kept[1], np.int64)
        node.kept[1].view(np.int32)[: len(offsets)] = offsets
        node.array.buffers[1] = node.kept[1].ctypes.data
        marks = roomy(rng.integers(256, size=8), np.uint8)
        node.kept.append(marks)
        if rng.random() < 0.3:
            node.array.buffers[0], node.array.null_count = marks.ctypes.data, -1
        return node

    kind = rng.integers(4)
    if kind == 0:
        return nested(leaf(), [0, 2, 5, 6])
    if kind == 1:
        return nested(fixed(leaf(), 2), [1, 2, 5, 6])
    if kind == 2:
        return nested(nested(leaf(), [0, 2, 4, 6]), [0, 1, 1, 3])
    return structs(3, {"a": nested(leaf(), [0, 2, 2, 4]), "b": nested(leaf(), [1, 3, 3, 5])})


def break_something(rng, node):
    what = rng.integers(6)
    if what == 0:
        field = rng.choice(["length", "offset", "null_count", "n_buffers", "n_children"])
        setattr(node.array, field, int(rng.choice(SIZES)))
    elif what == 1:
        node.array.buffers[int(rng.integers(node.array.n_buffers))] = None
    elif what == 2:
        node.schema.format = rng.choice(LETTERS).encode()
    elif what == 3 and len(node.kept) > 1:
        offsets = node.kept[1].view(np.int32)
        offsets[int(rng.integers(4))] = rng.choice([-(2**31), -1, 0, 1, 2, 5, 100, 2**31 - 1])
    elif what == 4:
        node.array.children = type(node.array.children)()
    else:
        node.schema.n_children = int(rng.choice([-1, 0, 1]))


@pytest.mark.parametrize("seed", range(8))
def test_broken_at_random(seed):
    """Whatever comes is a result or an error; no crash, and all is released once."""
    rng = np.random.default_rng(seed)
    results = 0
    for _ in range(500):
        column = random_column(rng)
        nodes = list(column.nodes())
        for _ in range(int(rng.integers(1, 4))):
            broken = nodes[int(rng.integers(len(nodes)))]
            if broken.array.n_buffers in (1, 2):
                break_something(rng, broken)
        try:
            if rng.random() < 0.5:
                ragged = rgru.Ragged.from_arrow(column)
                results += 1
                assert ragged.offsets[-1] == len(ragged.values)
                del ragged
            else:
                rgru.arrow.predict(rgru.GRU(2, 1), column, on_error="null")
                results += 1
        except (ValueError, TypeError, MemoryError):
            pass
        assert sorted(column.released) == ["array", "schema"]
        assert not any(child.released for child in nodes[1:])
    assert results > 20


def tensor(parameters, size=4):
    """One row of numbers, called a tensor."""
    column = fixed(numbers(np.arange(size)), size)
    pairs = [("ARROW:extension:name", "arrow.fixed_shape_tensor"), ("ARROW:extension:metadata", parameters)]
    text = np.int32(len(pairs)).tobytes()
    for one in (one.encode() for pair in pairs for one in pair):
        text += np.int32(len(one)).tobytes() + one
    column.text = ctypes.create_string_buffer(text)
    column.schema.metadata = ctypes.cast(column.text, ctypes.c_char_p)
    return column


@pytest.mark.parametrize(
    "parameters",
    [
        '{"shape":[2,2]}',
        ' { "shape" : [ 2 , 2 ] , "permutation" : [0,1]}',
        '{"dim_names":["shape","\\"shape\\":[9]"],"shape":[2,2]}',
    ],
)
def test_parameters_of_tensors_are_read(parameters):
    assert rgru.Ragged.from_arrow(tensor(parameters)).values.tolist() == [[0, 1], [2, 3]]


@pytest.mark.parametrize(
    "parameters",
    [
        "",
        "{}",
        '{"shape":',
        '{"shape":[2,2',
        '{"shape":[2,3]}',
        '{"shape":[5]}',
        '{"shape":[-2,-2]}',
        '{"shape":[4294967296,4294967296]}',
        '{"shape":[]}',
        '{"shape":[1,2,2]}',
        '{"shape":[2,2],"permutation":[1,0]}',
        '{"dim_names":["shape"]}',
    ],
)
def test_tensors_of_other_shapes_are_refused(parameters):
    refused(tensor(parameters), r"got extension<arrow\.fixed_shape_tensor>", TypeError)
    with pytest.raises(TypeError):
        rgru.Ragged.from_arrow(lists(tensor(parameters), [0, 1]))


def test_null_columns_may_have_a_buffer_or_none():
    """Elder producers give them one."""
    for buffers in ([], [None]):
        column = Node("n", 3, buffers, null_count=3)
        assert rgru.arrow.predict(rgru.GRU(2, 1), column, on_error="null").null_count == 3
        column = lists(Node("n", 3, buffers, null_count=3), [0, 0, 3])
        assert rgru.arrow.predict(rgru.GRU(2, 1), column, on_error="null").null_count == 1


def test_booleans_and_decimals_without_a_buffer():
    for form in ("b", "d:5,1", "d:5,1,32", "d:5,1,256"):
        refused(lists(Node(form, 3, [None, None]), [0, 3]), r"numbers at a null pointer")
