"""Files of weights give their arrays, and whatever else they ask for is refused by name."""

import os
import pickle
import zipfile

import numpy as np
import pytest

from jaxsep.convert.safe_pickle import UnsafePickleError
from jaxsep.convert.torch_files import read_arrays

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


def write_checkpoint(path, *view):
    """Writes what `torch.save` does for {"weight": a view of six numbers}."""
    tree = b"\x80\x02}" + text("weight") + tensor(*view) + b"s."
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weights/data.pkl", tree)
        archive.writestr("weights/data/0", np.arange(6, dtype="<f4").tobytes())
    return path


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
    arrays = read_arrays(write_checkpoint(tmp_path / "weights.pth", *view))
    assert_same(arrays, {"weight": np.array(expected, "f4")})


@pytest.mark.parametrize(
    "view", [((7,), (1,), 0), ((2,), (1,), 5), ((255, 255), (0, 0), 0), ((2, 2), (1,), 0)]
)
def test_a_tensor_larger_than_its_storage_is_refused(tmp_path, view):
    with pytest.raises(UnsafePickleError, match=r"weights\.pth: refused"):
        read_arrays(write_checkpoint(tmp_path / "weights.pth", *view))


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
    "an array of objects": ({"x": np.array([print, None])}, "type O8"),
    "a compound type": ({"x": np.zeros(2, "f4,i4")}, "type V8"),
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


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"\x80\x02K\x00r\xff\xff\xff\x7f.", "under the number 2147483647"),
        (b"\x80\x05\x96\xff\xff\xff\xff\xff\x00\x00\x00.", "expected 1099511627775 bytes"),
        (b"\x80\x02cnumpy\nndarray\n)\x81.", "must be a type"),
        (b"\x80\x02cnumpy\ndtype\n}" + text("function") + b"K\x00sb.", "changes a function"),
        (b"\x80\x02" + STORAGE + b"}" + text("dtype") + b"K\x00sb.", "changes a storage"),
        (b"\x80\x02(" + text("storage") + b"K\x00K\x00K\x00K\x00tQ.", "no array"),
        (b"lyrics", "LIST"),
        (b"\x80\x02\x82\x01.", "EXT1"),
        (b"", "pickle exhausted"),
    ],
)
def test_tricks_are_refused(tmp_path, content, named):
    with pytest.raises(UnsafePickleError, match=named):
        read_arrays(write(tmp_path / "weights.ckpt", content))


def test_a_larger_shape_than_the_file_holds_is_refused(tmp_path):
    content = pickle.dumps({"x": np.zeros(77, "u1")}, 2)
    assert content.count(b"K\x4d\x85") == 1
    huge = content.replace(b"K\x4d\x85", b"J\xff\xff\xff\x7f\x85")
    with pytest.raises(UnsafePickleError, match="77 values for an array of shape"):
        read_arrays(write(tmp_path / "weights.ckpt", huge))


def test_packed_zip_files_are_refused(tmp_path):
    path = tmp_path / "weights.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("weights/data.pkl", pickle.dumps({"x": np.zeros(100_000)}, 2))
    with pytest.raises(UnsafePickleError, match="more than its size"):
        read_arrays(path)


def test_damage_never_does_more_than_refuse(tmp_path):
    whole = pickle.dumps(some_arrays(), 2)
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
