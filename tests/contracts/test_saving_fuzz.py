"""Damaged and forged files: ValueError, or what was saved; never a crash, a hang, or another result.

Forged files have a right checksum, so what they say is a weight like another, where it can be one: then it must run,
and save to the same bytes again.
"""

import copy
import hashlib
import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
import saved
from hypothesis import example, given
from hypothesis import strategies as st
from test_saving import run

import dynq_numba as dq

HERE = Path(tempfile.mkdtemp())
OBJECTS = saved.small(np.random.default_rng(3))
CONTENTS = {name: {name: w, "an array": np.arange(6.0)} for name, w in OBJECTS.items()}
CONTENTS["arrays"] = saved.arrays(np.random.default_rng(4))
CONTENTS["nothing"] = {}
CHAINS = saved.chains(np.random.default_rng(5))
CONTENTS["nested"] = {"a": [OBJECTS["linear"], {"b": (np.arange(3.0),), "": {}}], "c": CHAINS}
FILES = {}
for _name, _objects in CONTENTS.items():
    dq.save(HERE / "made", _objects)
    FILES[_name] = (HERE / "made").read_bytes()

kinds = pytest.mark.parametrize("what", list(CONTENTS))
# Few words, so that mutations meet each other's.
WORDS = (
    "", "a", "linear", "conv", "embedding", "lstm", "gru", "rnn", "array", "F32", "I8", "U8", "BF16", "BOOL", "qweight",
    "scale", "per_tensor", "per_channel", "per_group", "reverse", "bidirectional", "tanh", "\udc80", "__metadata__",
    "list", "tuple", "dict", "chain", "Linear", "SwiGLU", "LayerNorm", "x", "addend", "total",
)  # fmt: skip
NUMBERS = (
    0, 1, -1, 2, 3, 4, 5, 7, 8, 16, 31, 32, 33, 64, 128, 255, 2**31 - 1, 2**31, 2**40, 2**62, 2**63, 2**64, 10**400,
)  # fmt: skip
leaves = st.sampled_from((*WORDS, *NUMBERS, None, True, False, 0.5, -0.0, 1e308, float("inf"), float("nan"), [], {}))
values = leaves | st.lists(leaves, max_size=4) | st.dictionaries(st.sampled_from(WORDS), leaves, max_size=3)


def load(content, verify=True):
    """What a file with these bytes gives, or None where it is refused as it should."""
    path = HERE / "file"
    path.write_bytes(content)
    try:
        return dq.load(path, verify=verify)
    except ValueError as error:
        assert str(error).startswith(f"{path}: ") and len(str(error)) < 2000
        return None


def unchanged(what, found):
    wanted = CONTENTS[what]
    return list(found) == list(wanted) and all(saved.same(wanted[name], found[name]) for name in wanted)


def test_every_byte_of_a_file():
    what = "linear4z"
    content = FILES[what]
    refused = 0
    for place in range(len(content)):
        for mask in (0x01, 0x04, 0x20, 0x80):
            damaged = bytearray(content)
            damaged[place] ^= mask
            found = load(damaged)
            refused += found is None
            assert found is None or unchanged(what, found), (place, mask)
        before, after = content[:place], content[place:]
        for damaged in (before, before + b" " + after, before + after[1:]):
            found = load(damaged)
            assert found is None or unchanged(what, found), place
    assert refused > 3 * len(content)


@kinds
@given(st.data())
def test_damaged_bytes(what, data):
    content = bytearray(FILES[what])
    length = int.from_bytes(content[:8], "little")
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, min(len(content), length + 8)) | st.integers(0, len(content)))
        end = min(len(content), place + data.draw(st.integers(0, 12)))
        content[place:end] = data.draw(st.binary(max_size=12) | st.sampled_from((b'"', b"[[", b"\0" * 8, b"0", b",")))
    for verify in (True, False):
        found = load(content, verify)
        assert found is None or not verify or unchanged(what, found)


def paths(tree, path=()):
    """The places in a tree of dicts and lists."""
    yield path
    if isinstance(tree, (dict, list)):
        for key, part in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from paths(part, (*path, key))


def mutated(tree, data):
    """A tree with one change."""
    path = data.draw(st.sampled_from(list(paths(tree))))
    if not path:
        return tree
    tree = copy.deepcopy(tree)
    part = tree
    for key in path[:-1]:
        part = part[key]
    key, way = path[-1], data.draw(st.sampled_from(("replace", "nudge", "delete", "double", "swap")))
    if way == "nudge" and type(part[key]) is int:
        part[key] += data.draw(st.sampled_from((-1, 1, 8)))
    elif way == "delete":
        del part[key]
    elif way == "double" and isinstance(part, list):
        part.insert(key, part[key])
    elif way == "double":
        part[data.draw(st.sampled_from(WORDS))] = part[key]
    elif way == "swap":
        other = data.draw(st.sampled_from(list(part) if isinstance(part, dict) else list(range(len(part)))))
        part[key], part[other] = part[other], part[key]
    else:
        part[key] = data.draw(values)
    return tree


def forged(header, objects, values):
    """A file of these with a right checksum, as far as there can be one."""
    metadata = header.get("__metadata__")
    if type(metadata) is dict:
        if objects is not None:
            metadata["dynq_numba.objects"] = json.dumps(objects)
        if "dynq_numba.sha256" in metadata:
            metadata["dynq_numba.sha256"] = ""
            text = json.dumps(header, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
            digest = hashlib.sha256(text.encode(errors="replace") + values)
            metadata["dynq_numba.sha256"] = digest.hexdigest()
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + values


def opened(content):
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    return header, json.loads(header["__metadata__"]["dynq_numba.objects"]), content[8 + length :]


@kinds
def test_a_forged_file_without_a_change_is_the_file(what):
    assert unchanged(what, load(forged(*opened(FILES[what]))))


@kinds
@given(st.data())
def test_forged_files(what, data):
    header, objects, stored = opened(FILES[what])
    for _ in range(data.draw(st.integers(1, 3))):
        target = data.draw(st.sampled_from(("header", "objects", "objects", "data")))
        if target == "header":
            header = mutated(header, data)
        elif target == "objects":
            objects = mutated(objects, data)
        elif stored:
            place = data.draw(st.integers(0, len(stored) - 1))
            new = data.draw(st.sampled_from((b"\0", b"\x80", b"\xff", b"\0\0\xc0\x7f", b"\x80\x7f", b"\x80\xff")))
            stored = stored[:place] + new[: len(stored) - place] + stored[place + len(new) :]
    found = load(forged(header, objects, stored))
    if found is not None:
        use(found)


def leaves_of(tree):
    if isinstance(tree, (dict, list, tuple)):
        for part in tree.values() if isinstance(tree, dict) else tree:
            yield from leaves_of(part)
    else:
        yield tree


def use(found):
    """Run what was loaded, and save it again."""
    for packed in leaves_of(found):
        if isinstance(packed, dq.Chain):
            x, *others = (np.ones((2, width), np.float32) for width in packed._takes)
            packed(x, **dict(zip(packed.arguments[1:], others, strict=True)))
            continue
        sizes = np.ravel(getattr(packed, "padding", 0)).tolist() + list(getattr(packed, "dilation", ()))
        if not isinstance(packed, np.ndarray) and max(sizes, default=0) < 50:
            with np.errstate(all="ignore"):
                try:
                    run(packed, np.random.default_rng(0))
                except ValueError as error:
                    assert "kernel" in str(error) or "image" in str(error) or "x must" in str(error)
    dq.save(HERE / "again", found)
    once = (HERE / "again").read_bytes()
    dq.save(HERE / "again", dq.load(HERE / "again"))
    assert (HERE / "again").read_bytes() == once


@given(st.binary(max_size=300), st.booleans())
@example(b"\0" * 8, True)
def test_any_bytes(content, headed):
    if headed:
        content = len(content).to_bytes(8, "little") + b"{" + content
    load(content)


def changed(what, role, value, index=0):
    """A file where one value of an array is another."""
    header, objects, stored = opened(FILES[what])
    entry = header[f"{what}.{role}"]
    begin, end = entry["data_offsets"]
    dtype = {"F32": "<f4", "BF16": "<u2", "I8": "i1", "U8": "u1", "F64": "<f8"}[entry["dtype"]]
    part = np.frombuffer(stored[begin:end], dtype).copy()
    part[index] = value
    return forged(header, objects, stored[:begin] + part.tobytes() + stored[end:])


VALUES = [
    ("linear", "qweight", -128, "qweight"), ("linear", "scale", np.nan, "scale"), ("linear", "scale", np.inf, "scale"),
    ("linear", "scale", 0, "scale"), ("linear", "scale", -1, "scale"), ("linear", "scale", 1e37, "scale"),
    ("rotated", "qweight", 0x88, "qweight"), ("linear4", "scale", 0, "scale"), ("linear4", "scale", 0x7FC0, "scale"),
    ("linear4", "scale", 1, "bfloat16"), ("linear4", "scale", 0x7F7F, "scale"), ("linear4z", "scale", 0xBF80, "scale"),
    ("linear4z", "zero_point", 16, "zero_point"), ("linear4z", "qweight", 0xFF, "nibble"),
    ("conv", "qweight", -128, "qweight"), ("conv", "scale", 0, "scale"), ("embedding", "scale", np.nan, "scale"),
    ("embedding", "minimum", np.inf, "minimum"), ("embedding4", "qweight", 0xFF, "nibble"),
    ("lstm", "peepholes", np.nan, "peepholes"), ("gru", "0.1.scale", 0, "scale"),
]  # fmt: skip


@pytest.mark.parametrize(("what", "role", "value", "told"), VALUES)
def test_values_that_no_packing_makes(what, role, value, told):
    path = HERE / "file"
    index = -1 if told == "nibble" else 0
    path.write_bytes(changed(what, role, value, index))
    with pytest.raises(ValueError, match=told):
        dq.load(path)


ATTRIBUTES = [
    ("linear", {"kind": "matrix"}, "kind"), ("linear", {"kind": None}, "kind"), ("linear", {"more": 1}, "attributes"),
    ("linear", {"bits": 8.0}, "bits"), ("linear", {"bits": True}, "bits"), ("linear", {"bits": 4}, "qweight"),
    ("linear", {"shape": [5, 3]}, "scale"), ("linear", {"shape": [3, 6]}, "qweight"), ("linear", {"shape": 3}, "shape"),
    ("linear", {"group_size": 32}, "group_size"), ("linear", {"rotate": 3}, "rotate"),
    ("linear", {"rotate": 32}, "rotate"), ("linear", {"bias": False}, "arrays"), ("linear", {"bias": 1}, "bias"),
    ("linear", {"symmetric": False}, "symmetric"), ("linear", {"activations": "none"}, "activations"),
    ("rotated", {"bias": True}, "bias"), ("linear4", {"group_size": 64}, "scale"),
    ("linear4z", {"symmetric": True}, r"arrays|scale"), ("conv", {"groups": 3}, "groups"),
    ("conv", {"stride": [0, 1]}, "stride"), ("conv", {"padding": [[1, 2]]}, "padding"),
    ("conv", {"dilation": [2**31, 1]}, "dilation"), ("conv", {"shape": [4, 12]}, "shape"),
    ("embedding", {"bits": 4}, "qweight"), ("embedding", {"shape": [2**32, 3]}, "rows"),
    ("lstm", {"hidden_size": 17}, "peepholes"), ("lstm", {"kind": "gru"}, "activations"),
    ("lstm", {"direction": "forward"}, "direction"), ("lstm", {"clip": -1}, "clip"), ("lstm", {"clip": "1"}, "clip"),
    ("lstm", {"weights": [[], []]}, "shapes"), ("lstm", {"weights": [{}]}, "weights"),
    ("projected", {"peepholes": True}, "peepholes"), ("gru", {"linear_before_reset": True}, "shapes"),
    ("gru", {"hidden_size": 4}, "shapes"), ("gru", {"peepholes": True}, "LSTM"),
    ("gru_torch", {"linear_before_reset": False}, "shapes"), ("rnn", {"input_forget": True}, "LSTM"),
    ("rnn", {"kind": "lstm"}, "activations"), ("rnn", {"activations": [["none"]]}, "activations"),
    ("rnn", {"hidden_size": 0}, "hidden_size"), ("rnn", {"linear_before_reset": True}, "GRU"),
]  # fmt: skip


@pytest.mark.parametrize(("what", "changes", "told"), ATTRIBUTES)
def test_attributes_that_no_packing_makes(what, changes, told):
    header, objects, stored = opened(FILES[what])
    objects[what] |= changes
    (HERE / "file").write_bytes(forged(header, objects, stored))
    with pytest.raises(ValueError, match=told):
        dq.load(HERE / "file")


def test_metadata():
    header, objects, stored = opened(FILES["linear"])
    path = HERE / "file"

    def told(text, **changes):
        metadata = header["__metadata__"] | {f"dynq_numba.{name}": value for name, value in changes.items()}
        metadata = {name: value for name, value in metadata.items() if value is not None}
        path.write_bytes(forged(header | {"__metadata__": metadata}, None, stored))
        with pytest.raises(ValueError, match=text):
            dq.load(path, verify=False)

    told("version", version="2")
    told("must hold", version=None)
    told("must hold", sha256=None)
    told("must hold", more="")
    told("nested too deep", objects="[" * 100_000)
    told("comes twice", objects='{"a":1,"a":2}')
    told("NaN", objects='{"linear": NaN}')
    told("objects", objects="[]")
    told("no object has", objects=json.dumps({name: about for name, about in objects.items() if name != "linear"}))
    told("no array", objects=json.dumps(objects | {"linear.scale": {"kind": "array"}}))
    wrong = bytearray(FILES["linear"])
    wrong[-1] ^= 1
    path.write_bytes(wrong)
    with pytest.raises(ValueError, match="checksum"):
        dq.load(path)
    assert dq.load(path, verify=False)["linear"].shape == (3, 5)


def test_rows_that_no_byte_stands_for_are_refused():
    dq.save(HERE / "file", {"w": dq.pack_linear(np.ones((4, 0)), granularity="per_tensor")})
    header, objects, stored = opened((HERE / "file").read_bytes())
    objects["w"]["shape"] = header["w.qweight"]["shape"] = [2**40, 0]
    (HERE / "file").write_bytes(forged(header, objects, stored))
    with pytest.raises(ValueError, match="rows"):
        dq.load(HERE / "file")
