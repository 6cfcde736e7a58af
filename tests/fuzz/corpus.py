"""The committed files of weights that `fuzz` begins with; Python 3.11 alone, without PyTorch. Run from this folder.

What PyTorch writes is written here by Python's own pickler, with stand-ins for PyTorch's classes. Files of Python 2 and
attacks are put together by hand.
"""

import collections
import io
import json
import math
import pathlib
import pickle
import struct
import sys
import types
import zipfile

MAGIC = 0x1950A86A20F9469CFC6C


def stand_in(path, value=None):
    """A class or function that is pickled under this name."""
    module, name = path.rsplit(".", 1)
    if value is None:
        value = type(name, (), {})
    value.__module__, value.__qualname__, value.__name__ = module, name, name
    setattr(sys.modules.setdefault(module, types.ModuleType(module)), name, value)
    return value


def function(path):
    return stand_in(path, lambda *arguments: None)


rebuild = {
    name: function(f"torch._utils.{name}")
    for name in (
        "_rebuild_tensor",
        "_rebuild_tensor_v2",
        "_rebuild_tensor_v3",
        "_rebuild_parameter",
        "_rebuild_parameter_with_state",
        "_rebuild_qtensor",
        "_rebuild_sparse_tensor",
    )
}
rebuild["_rebuild_from_type_v2"] = function("torch._tensor._rebuild_from_type_v2")
module_class = {
    name: stand_in(f"torch.nn.modules.{path}")
    for name, path in (
        ("Sequential", "container.Sequential"),
        ("Conv2d", "conv.Conv2d"),
        ("BatchNorm2d", "batchnorm.BatchNorm2d"),
    )
}
Config = stand_in("__main__.Config", type("Config", (dict,), {}))
FORMATS = {"Float": "f", "Double": "d", "Half": "e", "Long": "q", "Int": "i", "Byte": "B", "QInt8": "b", "Bool": "?"}
storage_class = {name: stand_in(f"torch.{name}Storage") for name in FORMATS}
Untyped = stand_in("torch.storage.UntypedStorage")
float8 = stand_in("torch.float8_e4m3fn")
Special = stand_in("torch._utils.Special")


class Storage:
    def __init__(self, numbers, kind="Float"):
        self.numbers, self.kind, self.part = list(numbers), kind, None

    def bytes(self):
        return struct.pack(f"<{len(self.numbers)}{FORMATS[self.kind]}", *self.numbers)


class Reduced:
    """What a call of a function makes."""

    def __init__(self, function, *arguments):
        self.reduced = (function, arguments)

    def __reduce__(self):
        return self.reduced


def tensor(numbers, shape=None, kind="Float", strides=None, offset=0, version=2):
    storage = numbers if isinstance(numbers, Storage) else Storage(numbers, kind)
    shape = (len(storage.numbers),) if shape is None else shape
    if strides is None:
        strides = tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
    rest = () if version == 1 else (False, collections.OrderedDict())
    name = "_rebuild_tensor" if version == 1 else "_rebuild_tensor_v2"
    return Reduced(rebuild[name], storage, offset, shape, strides, *rest)


class Pickler(pickle.Pickler):
    def __init__(self, file, protocol, legacy):
        super().__init__(file, protocol)
        self.storages, self.legacy = [], legacy

    def persistent_id(self, value):
        if not isinstance(value, Storage):
            return None
        root = value.part[0] if value.part else value
        if root not in self.storages:
            self.storages.append(root)
        key, kind = str(self.storages.index(root)), storage_class.get(value.kind, Untyped)
        part = (f"{key}-part", *value.part[1:]) if value.part else None
        return ("storage", kind, key, "cpu", len(root.numbers)) + ((part,) if self.legacy else ())


def legacy(body, storages):
    """A file of PyTorch before 1.6 around a pickle."""
    head = b"".join(pickle.dumps(value, 2) for value in (MAGIC, 1001, {"little_endian": True}))
    keys = [str(index) for index in range(len(storages))]
    data = b"".join(struct.pack("<q", len(s.numbers)) + s.bytes() for s in storages)
    return head + body + pickle.dumps(keys, 2) + data


def archive(body, storages):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as zip:
        members = {"data.pkl": body, "byteorder": b"little", "version": b"3\n"}
        members |= {f"data/{index}": storage.bytes() for index, storage in enumerate(storages)}
        for name, content in members.items():
            zip.writestr(zipfile.ZipInfo(f"archive/{name}"), content)
    return file.getvalue()


def save(name, value, protocol=2, old=False):
    file = io.BytesIO()
    pickler = Pickler(file, protocol, old)
    pickler.dump(value)
    content = (legacy if old else archive)(file.getvalue(), pickler.storages)
    pathlib.Path("corpus/pickle", name).write_bytes(content)


def attack(name, body):
    pathlib.Path("corpus/pickle", name).write_bytes(legacy(b"\x80\x02" + body, []))


def weights(version=2):
    """Some tensors of a ResNet-18."""
    return collections.OrderedDict(
        (("bn1.bias", tensor([n / 4 for n in range(64)], version=version)), ("bn1.weight", tensor([1.5] * 64, version=version)))
    )


def module(kind, **attributes):
    made = module_class[kind]()
    for kept in ("_parameters", "_buffers", "_modules"):
        setattr(made, kept, collections.OrderedDict(attributes.pop(kept, {})))
    made.__dict__.update(training=False, **attributes)
    return made


def parameter(numbers, shape=None):
    return Reduced(rebuild["_rebuild_parameter"], tensor(numbers, shape), True, collections.OrderedDict())


def files():
    save("v1.pth", weights(1), old=True)
    save("v1_zip.pth", weights(1))
    save("momentum.pth", {"state_dict": weights(), "momentum": tensor([0.0] * 3), "best": tensor([9], (), "Byte")}, old=True)
    both = weights()
    save("twice.pth", {"best": both, "state_dict": both})
    save("twice_unnamed.pth", {"best": both, "net": both}, old=True)
    save("config.pth", {"state_dict": weights(), "config": Config(lr=0.1)})
    save("config_protocol_1.pth", Config(weights()), 1, old=True)
    for protocol in (1, 3, 4, 5):
        save(f"protocol_{protocol}.pth", weights(), protocol)
    extras = {"seen": {1, 2}, "kept": frozenset("a"), "raw": bytearray(b"x"), "bytes": b"\xff", "many": 1 << 80}
    save("extras.pth", {"state_dict": weights(), "extras": extras, "epoch": -3, "lr": 0.5, "none": None}, 5)
    save("net.pth", {"net": weights(), "acc": 93.1, "best": tensor([93.0], ()), "epoch": 3, "optimizer": {"state": {0: {"buffer": tensor([1.0])}}}})
    save("two_nets.pth", {"generator": weights(), "critic": weights(), "epoch": 3})
    save("named_model.pth", {"model": "resnet18", "net": weights()})
    with_state = {"bn1.weight": Reduced(rebuild["_rebuild_parameter_with_state"], tensor([1.5] * 64), True, {}, {"a": 1})}
    subclass = Reduced(rebuild["_rebuild_from_type_v2"], rebuild["_rebuild_tensor_v2"], Special, tensor([2.5] * 64).reduced[1], {})
    save("parameters.pth", {"bn1.bias": parameter([2.5] * 64)} | with_state | {"bn1.running_mean": subclass})
    shared = Storage(range(128))
    views = {"bn1.bias": tensor(shared, (64,), offset=64), "bn1.weight": tensor(shared, (64,), strides=(2,), offset=1)}
    save("shared.pth", views)
    part = Storage([])
    part.part = (shared, 32, 64)
    save("parts.pth", {"bn1.bias": tensor(part, (64,)), "bn1.weight": tensor(shared, (64,))}, old=True)
    save("quantized.pth", {"bn1.bias": Reduced(rebuild["_rebuild_qtensor"], Storage([1] * 64, "QInt8"), 0, (64,), (1,), (), False, {})})
    save("sparse.pth", {"bn1.bias": Reduced(rebuild["_rebuild_sparse_tensor"], "coo", (tensor([1], kind="Long"), tensor([1.0]), (64,)))})
    save("float8.pth", {"bn1.bias": Reduced(rebuild["_rebuild_tensor_v3"], Storage([0] * 64, "Byte"), 0, (64,), (1,), False, {}, float8)})
    save("repeated.pth", {"bn1.bias": tensor([1.0], (64,), strides=(0,))})
    for name, count in (("half", ([7.0], (), "Half")), ("broken", ([3.5], (), "Half")), ("int", ([7], (), "Int"))):
        save(f"count_{name}.pth", weights() | {"bn1.num_batches_tracked": tensor(*count)})
    save("int_weights.pth", weights() | {"bn1.weight": tensor([1] * 64, kind="Int")})
    save("empty.pth", {})
    save("no_tensor.pth", {"epoch": 3, "lr": 0.1})
    save("list.pth", [weights()])
    cycle = {"epoch": 3}
    cycle["state_dict"] = cycle
    save("cycle.pth", cycle)
    norm = module("BatchNorm2d", eps=1e-5, _parameters={"weight": parameter([1.0, 2.0])}, _buffers={"running_mean": tensor([0.5, 0.25])})
    convolution = module("Conv2d", stride=(1, 1), _parameters={"weight": parameter([1.0] * 6, (2, 3, 1, 1)), "bias": None})
    net = module("Sequential", _modules={"0": convolution, "1": norm, "again": norm})
    save("modules.pth", net)
    averaged = module("Sequential", _modules={"0": norm})
    save("modules_both.pth", {"model": net, "ema": averaged, "optimizer": None})
    save("modules_empty_ema.pth", {"model": net, "ema": module("Sequential")}, old=True)
    save("modules_beside_state_dict.pth", {"state_dict": weights(), "ema": averaged})
    save("modules_of_two_nets.pth", {"generator": net, "critic": averaged})
    save("modules_no_tensor.pth", module("Sequential", _modules={"0": module("Sequential"), "1": None}))
    save("module_part.pth", module("Sequential", _modules={"0": norm, "head": {"weight": tensor([1.0])}}))
    save("module_value.pth", module("Sequential", _modules={"0": module("Conv2d", _parameters={"weight": [1.0]})}))
    save("module_table.pth", module("Sequential", _modules={"0": Reduced(module_class["Conv2d"])}))
    save("module_unnamed.pth", module("Sequential", _modules={0: norm}))
    unsaved = module("BatchNorm2d", _buffers={"running_mean": tensor([0.5]), "anchors": tensor([2.0]), "none": None}, _non_persistent_buffers_set={"anchors"})
    for protocol in (2, 4):
        save(f"module_unsaved_{protocol}.pth", module("Sequential", _modules={"0": unsaved}), protocol)
    named = module("Sequential", _modules={"0": norm}, names={1: "Car", 0: "person"})
    save("module_names.pth", {"model": named, "ema": None})
    save("module_names_list.pth", module("Sequential", _modules={"0": norm}, names=["a", "b"]))
    save("module_names_numbers.pth", module("Sequential", _modules={"0": norm}, names={0: "0", 1: "1"}))
    save("module_names_gap.pth", module("Sequential", _modules={"0": norm}, names={0: "a", 2: "b"}))
    whole = module("Sequential")
    whole._modules["again"] = whole
    save("module_in_itself.pth", whole)
    doubled = norm
    for _ in range(60):
        doubled = module("Sequential", _modules={"a": doubled, "b": doubled})
    save("module_doubled.pth", doubled)
    shared = norm
    for _ in range(20):
        shared = module("Sequential", _modules={"a": shared, "b": shared})
    save("module_shared.pth", shared)
    deep = norm
    for _ in range(150):
        deep = module("Sequential", _modules={"a": deep})
    save("module_deep.pth", deep)
    save("module_long_name.pth", module("Sequential", _modules={"n" * 900: module("Sequential", _modules={"n" * 900: norm})}))
    save("module_control_name.pth", module("Sequential", _modules={"a\nerror: forged": norm}))
    save("modules_in_dict.pth", {"epoch": 3, "ema": net}, old=True)


def python_2():
    """Pairs in a list for an OrderedDict, and strings that are bytes."""
    text = lambda s: b"U" + bytes([len(s)]) + s.encode()
    name = lambda path: "c{}\n{}\n".format(*path.rsplit(".", 1)).encode()
    storage = b"(" + text("storage") + name("torch.FloatStorage") + text("0") + text("cpu") + b"K@NtQ"
    bias = name("torch._utils._rebuild_tensor") + b"(" + storage + b"K\x00K@\x85K\x01\x85tR"
    body = b"\x80\x02" + name("collections.OrderedDict") + b"](](" + text("bn1.bias") + bias + b"ee\x85R."
    pathlib.Path("corpus/pickle/python_2.pth").write_bytes(legacy(body, [Storage([1.0] * 64)]))
    # Protocol 0, in words.
    body = b"(dp0\nS'a\\x41\\n'\np1\nI01\nsVb\\u00e9\n(lp2\nI7\naL12345678901L\naF-1.5\nasNI00\nsp4\n"
    body += b"(i__main__\nThing\np3\n(dS'x'\nI1\nsb0" + b"(c__main__\nThing\nI1\no0" + b"(S'y'\nt0g4\n."
    attack("words.pth", body)


def attacks():
    doubled = b"]q\x00" + b"".join(b"](h%ch%ceq%c" % (n, n, n + 1) for n in range(60))
    attack("doubled_list.pth", doubled + b".")
    attack("doubled_tuple.pth", b")\x85q\x00" + b"".join(b"h%ch%c\x86q%c" % (n, n, n + 1) for n in range(60)) + b".")
    attack("doubled_dict.pth", b"}q\x00" + b"".join(b"}(X\x01\0\0\0ah%cX\x01\0\0\0bh%cuq%c" % (n, n, n + 1) for n in range(60)) + b".")
    attack("doubled_state_dict.pth", b"}q\x00" + b"".join(b"}X\x0a\0\0\0state_dicth%csq%c" % (n, n + 1) for n in range(60)) + b".")
    attack("nested_tuples.pth", b")" + b"\x85" * 2000 + b".")
    attack("nested_lists.pth", b"]" * 2000 + b"a" * 1999 + b".")
    attack("nested_objects.pth", b"c__main__\nThing\n" + b")R" * 2000 + b".")
    attack("marks.pth", b"(" * 2000 + b".")
    for name, start in (("text", b"X" + b"\xff" * 4), ("text_8", b"\x8d" + struct.pack("<Q", 1 << 40)), ("bytes", b"B" + b"\xff" * 4), ("bytes_8", b"\x8e" + b"\xff" * 8), ("array_8", b"\x96" + struct.pack("<Q", 1 << 33)), ("string", b"T" + b"\xff\xff\xff\x7f"), ("negative", b"T" + b"\xff" * 4), ("long", b"\x8b" + b"\xff\xff\xff\x7f"), ("frame", b"\x95" + struct.pack("<Q", 1 << 40))):
        attack(f"declared_{name}.pth", start + b"abc.")
    attack("memo_index.pth", b"}r\xff\xff\xff\xff0j\xff\xff\xff\xff.")
    attack("registry.pth", b"\x82\x01.")
    attack("buffer.pth", b"\x97.")
    attack("shared_pairs.pth", b"ccollections\nOrderedDict\nq\0](](X\1\0\0\0aNe](X\1\0\0\0bNeeq\1}(" + b"".join(b"X\2\0\0\0%02dh\0h\1\x85R" % n for n in range(40)) + b"u.")
    attack("long_name.pth", b"}X" + struct.pack("<I", 3000) + b"n" * 3000 + b"Ns.")
    attack("control_name.pth", b"}X\x0f\0\0\0a\nerror: forged" + b"K\1s.")


def safetensors(name, header, data=b"", declared=None):
    text = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    length = len(text) if declared is None else declared
    pathlib.Path("corpus/safetensors", name).write_bytes(struct.pack("<Q", length) + text + data)


def of_safetensors():
    entry = lambda start, end, dtype="F32", shape=None: {"dtype": dtype, "shape": [(end - start) // 4] if shape is None else shape, "data_offsets": [start, end]}
    safetensors("some.safetensors", {"__metadata__": {"format": "pt"}, "a": entry(0, 8), "b": entry(8, 20)}, bytes(20))
    safetensors("types.safetensors", {"half": entry(0, 4, "F16", [2]), "brain": entry(4, 8, "BF16", [1, 2]), "count": entry(8, 16, "I64", []), "eight": entry(16, 18, "F8_E4M3", [2]), "four": entry(18, 19, "F4", [2])}, bytes(19))
    safetensors("declared_header.safetensors", {"a": entry(0, 8)}, bytes(8), declared=99_999_999)
    safetensors("declared_header_huge.safetensors", {"a": entry(0, 8)}, bytes(8), declared=1 << 62)
    safetensors("declared_data.safetensors", {"a": entry(0, 1 << 40)}, bytes(8))
    safetensors("declared_shape.safetensors", {"a": entry(0, 8, shape=[1 << 40, 1 << 40])}, bytes(8))
    safetensors("overlap.safetensors", {"a": entry(0, 8), "b": entry(4, 12)}, bytes(12))
    safetensors("gap.safetensors", {"a": entry(0, 8), "b": entry(12, 16)}, bytes(16))
    safetensors("behind.safetensors", {"a": entry(0, 8)}, bytes(12))
    safetensors("backwards.safetensors", {"a": {"dtype": "F32", "shape": [0], "data_offsets": [8, 4]}}, bytes(8))
    safetensors("twice.safetensors", b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}', bytes(8))
    safetensors("no_tensor.safetensors", {})
    safetensors("empty_tensors.safetensors", {"a": entry(0, 0), "b": entry(0, 0)})
    safetensors("deep.safetensors", b'{"a":' + b"[" * 2000)
    safetensors("dimensions.safetensors", {"a": entry(0, 4, shape=[1] * 40)}, bytes(4))
    safetensors("unknown_type.safetensors", {"a": entry(0, 4, "X" * 500)}, bytes(4))
    safetensors("control_name.safetensors", {"a\nerror: forged": entry(0, 4)}, bytes(4))


for folder in ("corpus/pickle", "corpus/safetensors"):
    pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
files()
python_2()
attacks()
of_safetensors()
