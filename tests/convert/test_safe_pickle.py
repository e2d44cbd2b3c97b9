"""Files of weights give their arrays, and whatever else they ask for is refused by name."""

import os
import pickle
import tracemalloc
import zipfile

import numpy as np
import pytest

from jaxsep.convert.pickle_stand_ins import UnsafePickleError
from jaxsep.convert.torch_files import read_arrays
from jaxsep.convert.torch_writer import write_torch_file

SHAPES = {"matrix": (3, 4), "scalar": (), "empty": (0, 2)}


def some_arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    arrays = {name: np.array(rng.normal(size=shape), "f4") for name, shape in SHAPES.items()}
    return {**arrays, "fortran": arrays["matrix"].T, "steps": np.arange(3, dtype=">i8")}


def assert_same(arrays, expected) -> None:
    assert arrays.keys() == expected.keys()
    for name in expected:
        assert arrays[name].dtype == expected[name].dtype
        np.testing.assert_array_equal(arrays[name], expected[name])


def write(path, content: bytes):
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("in_zip", [False, True])
def test_pickled_arrays_come_back(tmp_path, protocol, in_zip):
    content = pickle.dumps(some_arrays(), protocol)
    path = tmp_path / "weights"
    if in_zip:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("weights/data.pkl", content)
    else:
        path.write_bytes(content)
    assert_same(read_arrays(path), some_arrays())


def text(value: str) -> bytes:
    return b"X" + len(value).to_bytes(4, "little") + value.encode()


def tensor(shape: tuple[int, ...], strides: tuple[int, ...], offset: int) -> bytes:
    """Pickles a tensor in storage 0, as PyTorch does."""
    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu")
    sizes = [b"(" + b"".join(b"K%c" % n for n in numbers) + b"t" for numbers in (shape, strides)]
    no_hooks = b"ccollections\nOrderedDict\n)R"
    view = b"K%c" % offset + b"".join(sizes) + b"\x89" + no_hooks
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\x06tQ" + view + b"tR"


def write_checkpoint(path, tree: bytes, **others: bytes):
    """Writes what `torch.save` does, with six numbers in storage 0."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weights/data.pkl", b"\x80\x02" + tree + b".")
        archive.writestr("weights/data/0", np.arange(6, dtype="<f4").tobytes())
        for name, content in others.items():
            archive.writestr(f"weights/{name}", content)
    return path


def weight(*view) -> bytes:
    return b"}" + text("weight") + tensor(*view) + b"s"


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        (((2, 3), (3, 1), 0), [[0, 1, 2], [3, 4, 5]]),
        (((3, 2), (1, 3), 0), [[0, 3], [1, 4], [2, 5]]),
        (((2,), (2,), 3), [3, 5]),
        (((), (), 4), 4),
    ],
)
def test_a_tensor_is_the_view_of_its_storage(tmp_path, view, expected):
    arrays = read_arrays(write_checkpoint(tmp_path / "weights.pth", weight(*view)))
    assert_same(arrays, {"weight": np.array(expected, "f4")})


@pytest.mark.parametrize(
    "view",
    [
        ((7,), (1,), 0),
        ((2,), (1,), 5),
        ((1,), (1,), 6),
        ((2,), (6,), 0),
        ((255, 255), (0, 0), 0),
        ((7,), (0,), 0),
        ((2, 2), (1,), 0),
        ((1,) * 33, (1,) * 33, 0),
    ],
)
def test_a_tensor_larger_than_its_storage_is_refused(tmp_path, view):
    with pytest.raises(UnsafePickleError, match=r"weights\.pth: refused"):
        read_arrays(write_checkpoint(tmp_path / "weights.pth", weight(*view)))


@pytest.mark.parametrize("is_zip", [True, False])
def test_what_pytorch_saves_comes_back(tmp_path, is_zip):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    state = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4)).state_dict()
    state["transposed"] = state["0.weight"].T[1:]
    path = tmp_path / "weights.pth"
    torch.save(state, path, _use_new_zipfile_serialization=is_zip)
    assert_same(read_arrays(path), {name: value.numpy() for name, value in state.items()})


class Call:
    """Pickles as a call."""

    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


class Instance:
    """Pickles as an object with attributes."""

    def __init__(self):
        self.attribute = 1


HARMFUL = {
    "a command": (Call(os.system, "exit 1"), "'posix.system'"),
    "an expression": (Call(eval, "1"), "eval'"),
    "an attribute of a module": (Call(getattr, Call(__import__, "os"), "system"), "getattr'"),
    "an object": (Instance(), "Instance'"),
    "an array of objects": ({"x": np.array([print, None])}, "type 'O8'"),
    "a compound type": ({"x": np.zeros(2, "f4,i4")}, "type 'V8'"),
    "a number": ({"x": 3}, "a int"),
    "an array alone": (np.zeros(3), "no dict"),
}


@pytest.mark.parametrize(("value", "named"), HARMFUL.values(), ids=HARMFUL)
@pytest.mark.parametrize("protocol", [2, 4])
def test_anything_but_arrays_is_refused_by_name(tmp_path, value, named, protocol):
    path = write(tmp_path / "weights.ckpt", pickle.dumps(value, protocol))
    with pytest.raises(UnsafePickleError) as refusal:
        read_arrays(path)
    message = str(refusal.value)
    assert message.startswith(f"{path}: refused, ") and named in message and "\n" not in message


STORAGE = b"ctorch\nFloatStorage\n"
# The attack of 230 bytes: a tuple of tuples of ..., whose hash takes 2**44 steps.
DAG = b")q\x01" + b"".join(b"h%c\x86q%c" % (i, i + 1) for i in range(1, 45))
NUMPY_DTYPE = b"cnumpy\ndtype\n"
REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"\x80\x02K\x00r\xff\xff\xff\x7f.", "no dict"),
        (b"\x80\x05\x96\xff\xff\xff\xff\xff\x00\x00\x00.", r"instruction b'\\x96'"),
        (b"\x80\x02B\xff\xff\xff\xff.", "ends too early"),
        (b"\x80\x02X\xff\xff\xff\xff.", "ends too early"),
        (b"\x80\x02cnumpy\nndarray\n)\x81.", r"instruction b'\\x81'"),
        (b"\x80\x02cnumpy\nndarray\n)R.", "calls something"),
        (b"\x80\x02cnumpy\ndtype\nK\x00R.", "calls something"),
        (b"\x80\x02" + NUMPY_DTYPE + b"}" + text("function") + b"K\x00sb.", "changes a function"),
        (b"\x80\x02" + STORAGE + b"}" + text("dtype") + b"K\x00sb.", "changes a storage"),
        (b"\x80\x02(" + text("storage") + b"K\x00K\x00K\x00K\x00tQ.", "no array"),
        (b"\x80\x02(" + text("storage") + STORAGE + b"K\x00K\x00K\x00tQ.", "without a name"),
        (b"\x80\x02(" + text("storage") + STORAGE + text("0") + b"NK\x06K\x01tQ.", "no array"),
        (b"\x80\x02" + REBUILD + b"(" + STORAGE + b"K\x00))tR.", "without a storage"),
        (b"\x80\x02}]K\x00s.", "key that is a list"),
        (b"\x80\x02]K\x00K\x00s.", "no dict"),
        (b"\x80\x02}K\x00a.", "no list"),
        (b"\x80\x02c" + b"a" * 300 + b"\nx\n.", "too long"),
        (b"\x80\x02}" + text("a\x1b[31m") + b"Ns.", "without a proper name"),
        (b"\x80\x02}" + text("a" * 501) + b"Ns.", "without a proper name"),
        (b"\x80\x02}K\x01Ns.", "without a proper name"),
        (b"lyrics", "instruction b'l'"),
        (b"\x80\x02\x82\x01.", r"instruction b'\\x82'"),
        (b"", "ends too early"),
        (b"\x80\x02}" + DAG + b"K\x01s.", "key that is a tuple"),
        (b"\x80\x04" + DAG + b"h\x2d\x93.", "without a name"),
        (b"\x80\x02" + NUMPY_DTYPE + DAG + b"\x85R.", "type 'tuple'"),
        (b"\x80\x02c_codecs\nencode\n" + text("a") + DAG + b"\x86R.", "another encoding"),
    ],
)
def test_tricks_are_refused(tmp_path, content, named):
    with pytest.raises(UnsafePickleError, match=named):
        read_arrays(write(tmp_path / "weights.ckpt", content))


def test_one_text_cannot_be_made_to_bytes_again_and_again(tmp_path):
    encode = b"c_codecs\nencode\nq\x01" + text("a" * 10_000) + b"q\x00" + text("latin1") + b"q\x02"
    content = b"\x80\x02" + encode + b"h\x01h\x00h\x02\x86R" * 1000 + b"."
    with pytest.raises(UnsafePickleError, match="more bytes than it has"):
        read_arrays(write(tmp_path / "weights.ckpt", content))


def test_instructions_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr("jaxsep.convert.safe_pickle.MOST_STEPS", 1000)
    with pytest.raises(UnsafePickleError, match="more than 1000 instructions"):
        read_arrays(write(tmp_path / "weights.ckpt", b"\x80\x02" + b"]" * 1000 + b"."))
    with pytest.raises(UnsafePickleError, match="no dict"):
        read_arrays(write(tmp_path / "weights.ckpt", b"\x80\x02" + b"]" * 998 + b"."))


def test_the_deepest_nesting_is_refused_as_anything_else(tmp_path):
    deep = b"\x80\x02" + b"]" * 300_000 + b"a" * 299_999 + b"."
    with pytest.raises(UnsafePickleError, match="no dict"):
        read_arrays(write(tmp_path / "weights.ckpt", deep))


def test_a_larger_shape_than_the_file_holds_is_refused(tmp_path):
    content = pickle.dumps({"x": np.zeros(77, "u1")}, 2)
    assert content.count(b"K\x4d\x85") == 1
    huge = content.replace(b"K\x4d\x85", b"J\xff\xff\xff\x7f\x85")
    with pytest.raises(UnsafePickleError, match="77 values for an array of shape"):
        read_arrays(write(tmp_path / "weights.ckpt", huge))


@pytest.mark.parametrize("packing", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_packed_zip_files_are_refused_whatever_size_they_state(tmp_path, packing):
    path = write_checkpoint(tmp_path / "weights.pth", weight((6,), (1,), 0))
    with zipfile.ZipFile(path, "a", packing) as archive:
        archive.writestr("weights/byteorder", b"little" * 500_000)
    content = bytearray(path.read_bytes())
    entry = content.rindex(b"PK\1\2")  # the last member's in the directory
    content[entry + 24 : entry + 28] = (6).to_bytes(4, "little")  # its size when unpacked
    tracemalloc.start()
    with pytest.raises(UnsafePickleError, match="packed zip file"):
        read_arrays(write(path, bytes(content)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_500_000


def test_members_that_share_bytes_are_refused(tmp_path):
    path = write_checkpoint(tmp_path / "weights.pth", weight((6,), (1,), 0), pad=bytes(1000))
    content = bytearray(path.read_bytes())
    entry = content.rindex(b"PK\1\2")
    for place in (20, 24):
        content[entry + place : entry + place + 4] = (10_000).to_bytes(4, "little")
    with pytest.raises(UnsafePickleError, match="more than its size"):
        read_arrays(write(path, bytes(content)))


def test_arrays_that_are_larger_together_than_the_file_are_refused(tmp_path):
    path, items = tmp_path / "weights.pth", [text(f"w{i}") + tensor((6,), (1,), 0) for i in "ab"]
    one, two = b"}(" + items[0] + b"u", b"}(" + b"".join(items) + b"u"
    for tree, is_refused in ((one, False), (two, True)):
        tree = tree.replace(b"(K\6t(", b"(J\xa0\x86\1\0t(")  # 100,000 numbers instead of six
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("weights/data.pkl", b"\x80\2" + tree + b".")
            archive.writestr("weights/data/0", bytes(400_000))
        if is_refused:
            with pytest.raises(UnsafePickleError, match="larger than the file"):
                read_arrays(path)
        else:
            assert read_arrays(path)["wa"].shape == (100_000,)


def legacy(tree: bytes, **platform: bool) -> bytes:
    """Writes what `torch.save` did before version 1.6, with six numbers in storage 0."""
    start = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True, **platform}]
    pickles = [pickle.dumps(value, 2) for value in start]
    numbers = (6).to_bytes(8, "little") + np.arange(6, dtype="<f4").tobytes()
    return b"".join([*pickles, b"\x80\x02" + tree + b".", pickle.dumps(["0"], 2), numbers])


def test_the_format_before_1_6_comes_back(tmp_path):
    path = write(tmp_path / "weights.pth", legacy(weight((2, 3), (3, 1), 0)))
    assert_same(read_arrays(path), {"weight": np.arange(6, dtype="f4").reshape(2, 3)})


@pytest.mark.parametrize("missing", [1, 24, 25, 33])
def test_the_format_before_1_6_is_refused_if_it_is_cut_off(tmp_path, missing):
    content = legacy(weight((2, 3), (3, 1), 0))
    with pytest.raises(UnsafePickleError, match="ends too early"):
        read_arrays(write(tmp_path / "weights.pth", content[:-missing]))


def test_numbers_of_another_byte_order_are_refused(tmp_path):
    new = write_checkpoint(tmp_path / "new.pth", weight((6,), (1,), 0), byteorder=b"big")
    old = legacy(weight((6,), (1,), 0), little_endian=False)
    for path in (new, write(tmp_path / "old.pth", old)):
        with pytest.raises(UnsafePickleError, match="big-endian"):
            read_arrays(path)


def test_tensors_of_one_storage_share_its_memory(tmp_path):
    items = b"".join(text(f"w{i}") + tensor((6,), (1,), 0) for i in range(5000))
    arrays = read_arrays(write_checkpoint(tmp_path / "weights.pth", b"}(" + items + b"u"))
    assert len(arrays) == 5000
    assert np.shares_memory(arrays["w0"], arrays["w4999"])
    assert not arrays["w0"].flags.writeable


# A training's checkpoint: numbers, text and an optimizer's state beside the weights.
def training(name: str) -> bytes:
    number = b"G?\xf0\0\0\0\0\0\0"
    scalar = b"cnumpy.core.multiarray\nscalar\n" + NUMPY_DTYPE + text("f8") + b"K\0K\1\x87R"
    scalar += b"C\x08" + bytes(8) + b"\x86R"
    moments = b"}K\0" + tensor((6,), (1,), 0).replace(text("0"), text("gone"), 1) + b"s"
    entries = {"epoch": b"K\3", "lr": number, "best": scalar, "version": text("2.0"), "none": b"N"}
    entries |= {"optimizer": moments, name: weight((2,), (1,), 1)}
    return b"}(" + b"".join(text(key) + value for key, value in entries.items()) + b"u"


@pytest.mark.parametrize("name", ["state", "state_dict", "model_state_dict"])
def test_of_a_trainings_checkpoint_the_weights_alone_are_read(tmp_path, name):
    # The storage of the optimizer isn't even there.
    arrays = read_arrays(write_checkpoint(tmp_path / "weights.pth", training(name)))
    assert_same(arrays, {"weight": np.array([1, 2], "f4")})


def test_weights_under_another_name_are_not_looked_for(tmp_path):
    with pytest.raises(UnsafePickleError, match="an entry that is a int"):
        read_arrays(write_checkpoint(tmp_path / "weights.pth", training("model")))


def test_a_parameter_is_its_tensor(tmp_path):
    parameter = b"ctorch._utils\n_rebuild_parameter\n" + tensor((2,), (1,), 0)
    parameter += b"\x88ccollections\nOrderedDict\n)R\x87R"
    path = write_checkpoint(tmp_path / "weights.pth", b"}" + text("weight") + parameter + b"s")
    assert_same(read_arrays(path), {"weight": np.array([0, 1], "f4")})


def test_bfloat16_comes_back(tmp_path):
    tree = weight((2, 6), (6, 1), 0).replace(b"FloatStorage", b"BFloat16Storage")
    [array] = read_arrays(write_checkpoint(tmp_path / "weights.pth", tree)).values()
    expected = (np.arange(6, dtype="<f4").view("<u2").astype("<u4") << 16).view("<f4")
    np.testing.assert_array_equal(array.astype("f4"), expected.reshape(2, 6))


def test_a_large_checkpoint_is_in_memory_once(tmp_path):
    arrays = {"weight": np.zeros(5_000_000, "f4")}
    write_torch_file(tmp_path / "weights.pth", arrays)
    tracemalloc.start()
    read = read_arrays(tmp_path / "weights.pth")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert read["weight"].nbytes == 20_000_000 < peak < 25_000_000


@pytest.mark.parametrize("kind", ["pickle", "zip", "legacy"])
def test_damage_never_does_more_than_refuse(tmp_path, kind):
    if kind == "pickle":
        whole = pickle.dumps(some_arrays(), 2)
    elif kind == "legacy":
        whole = legacy(training("state"))
    else:
        whole = write_checkpoint(tmp_path / "whole.pth", training("state")).read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(500):
        damaged = bytearray(whole)
        for position in rng.integers(0, len(whole), 3):
            damaged[position] = rng.integers(256)
        path = write(tmp_path / "weights.ckpt", bytes(damaged))
        try:
            arrays = read_arrays(path)
        except UnsafePickleError:
            continue
        assert all(type(array) is np.ndarray for array in arrays.values())
