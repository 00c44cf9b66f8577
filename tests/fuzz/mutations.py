"""What happens to files: damage that knows nothing of them, and changes that keep to the format."""

import io
import json
import struct
import zipfile
from typing import Any

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from tests.fuzz.draw import Draw, chosen, one_in

LENGTHS = [0, 1, 0x7F, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**40, 2**63 - 1, 2**64 - 1]
NUMBERS = [0, 1, -1, 2, 3, 7, 255, 10**6, 2**31, 2**63, 10**400, 0.0, 0.5, -0.5, 1e-300, 1e300]
STRANGE = [None, True, False, "", "x", "off", "auto", "1", "\ud800", [], {}, [[]], [None], {"a": 1}, *NUMBERS]
NOT_NUMBERS = [float("nan"), float("inf"), float("-inf")]
FLOATS = [0.0, -1.0, 1e-40, 1e10, 3e38, -3e38, *NOT_NUMBERS]
TYPES = ["F64", "F32", "F16", "BF16", "I64", "I32", "I8", "U8", "BOOL", "F8_E4M3", "C64", "x"]
DEEP = 100_000


def damaged(draw: Draw, content: bytes) -> bytes:
    """Flipped bits, other bytes, absurd lengths, a part cut out, doubled, moved or filled with zeros."""
    found = bytearray(content)
    for _ in range(draw.number(1, 4)):
        size = len(found)
        if not size:
            return bytes(found)
        place, end = sorted((draw.number(0, size - 1), draw.number(0, size - 1)))
        end = min(end, place + 4096) + 1
        way = draw.number(0, 7)
        if way == 0:
            found[place] ^= 1 << draw.number(0, 7)
        elif way == 1:
            found[place] = draw.number(0, 255)
        elif way == 2:
            of_size = chosen(draw, ["<I", "<Q", ">I", "<H"])
            mask = 2 ** (8 * struct.calcsize(of_size)) - 1
            packed = struct.pack(of_size, chosen(draw, LENGTHS) & mask)
            found[place : place + len(packed)] = packed
        elif way == 3:
            del found[place:]
        elif way == 4:
            del found[place:end]
        elif way == 5:
            found[place:place] = found[place:end]
        elif way == 6:
            section = bytes(found[place:end])
            del found[place:end]
            to = draw.number(0, len(found))
            found[to:to] = section
        else:
            found[place:end] = draw.some_bytes(min(end - place, 16))
    return bytes(found)


def changed_json(draw: Draw, content: bytes) -> bytes:
    """Some values are of other types, absurd, gone, doubled, or nested beyond what a stack holds."""
    if one_in(draw, 40):
        return chosen(draw, [b"[", b'{"a":']) * DEEP
    try:
        root = json.loads(content)
    except (ValueError, RecursionError):
        return damaged(draw, content)
    for _ in range(draw.number(1, 3)):
        root = changed_value(draw, root)
    text = json.dumps(root)
    if one_in(draw, 30):
        deep = "[" * DEEP + "]" * DEEP
        text = text.replace("null", deep, 1) if "null" in text else f'{{"a": {deep}}}'
    return text.encode("utf-8", "surrogatepass")


def changed_value(draw: Draw, root: Any) -> Any:
    """One place of a tree is another; which one: a walk down from the root."""
    if isinstance(root, dict) and root and not one_in(draw, 12):
        key = chosen(draw, sorted(root))
        way = draw.number(0, 11)
        if way == 0:
            return {name: value for name, value in root.items() if name != key}
        if way == 1:
            return {**root, chosen(draw, ["x", "kind", key + "x"]): root[key]}
        if way == 2:
            return {**root, key: root[chosen(draw, sorted(root))]}
        return {**root, key: changed_value(draw, root[key])}
    if isinstance(root, list) and root and not one_in(draw, 12):
        place = draw.number(0, len(root) - 1)
        way = draw.number(0, 9)
        if way == 0:
            return root[:place] + root[place + 1 :]
        if way == 1:
            return [*root, root[place]]
        if way == 2:
            return root[::-1]
        return [*root[:place], changed_value(draw, root[place]), *root[place + 1 :]]
    if isinstance(root, int) and not isinstance(root, bool) and one_in(draw, 2):
        return root + draw.number(-2, 2)
    if isinstance(root, str) and root and one_in(draw, 2):
        return chosen(draw, [root * 2, root[:-1], root.upper(), root + "\0", root[:10] * 1000, "." * 3000])
    return chosen(draw, [*STRANGE, *NOT_NUMBERS])


def changed_array(draw: Draw, value: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Of another shape or type, or with other values."""
    way = draw.number(0, 9)
    if way == 0 and value.ndim:
        return value[: draw.number(0, max(0, len(value) - 1))]
    if way == 1 and value.ndim:
        return np.concatenate([value, value[:1]])
    if way == 2:
        return value.T.copy() if value.ndim > 1 else value[:, None] if value.ndim else value
    if way == 3:
        return value.reshape(-1)
    if way == 4:
        types = ["f8", "f4", "f2", "i8", "i4", "i2", "i1", "u1", "?"]
        return value.astype(chosen(draw, types)) if value.dtype.kind in "fiu" else value[:0]
    if way == 5:
        return np.zeros(chosen(draw, [(), (0,), (1,), (0, 4), (2, 3), (1, 1, 1)]), value.dtype)
    found = value.copy()
    if found.size:
        flat = found.reshape(-1)
        place = draw.number(0, flat.size - 1)
        with np.errstate(all="ignore"):
            if found.dtype.kind == "f":
                new = np.float64(chosen(draw, FLOATS)).astype(found.dtype)
            elif found.dtype.kind in "iu":
                new = np.int64(draw.number(-(2**31), 2**31)).astype(found.dtype)
            else:
                new = flat[0]
            flat[place : flat.size if one_in(draw, 4) else place + 1] = new
    return found


def safetensors_bytes(draw: Draw, content: bytes) -> bytes:
    """Arrays dropped, swapped or changed; or a header that says something else than what stands behind it."""
    try:
        arrays = safetensors.numpy.load(content)
    except (SafetensorError, LookupError):  # changed before
        return damaged(draw, content)
    way, names = draw.number(0, 9), sorted(arrays)
    if way == 0:
        del arrays[chosen(draw, names)]
    elif way == 1:
        first, second = chosen(draw, names), chosen(draw, names)
        arrays[first], arrays[second] = arrays[second], arrays[first]
    elif way <= 6:
        for _ in range(draw.number(1, 2)):
            name = chosen(draw, names)
            arrays[name] = np.ascontiguousarray(changed_array(draw, arrays[name]))
    else:
        return _other_header(draw, content)
    return safetensors.numpy.save(arrays)


def _other_header(draw: Draw, content: bytes) -> bytes:
    (size,) = struct.unpack("<Q", content[:8])
    header, body = json.loads(content[8 : 8 + size]), content[8 + size :]
    name = chosen(draw, sorted(header))
    entry = header[name]
    way = draw.number(0, 3)
    if way == 0:
        entry["dtype"] = chosen(draw, TYPES)
    elif way == 1:
        entry["shape"] = changed_value(draw, entry.get("shape", []))
    elif way == 2:
        entry["data_offsets"] = [chosen(draw, LENGTHS), chosen(draw, LENGTHS)]
    else:
        header = changed_value(draw, header)
    text = json.dumps(header).encode()
    stated = chosen(draw, LENGTHS) if one_in(draw, 10) else len(text)
    return struct.pack("<Q", stated) + text + body


def npz_bytes(draw: Draw, content: bytes) -> bytes:
    """Arrays dropped, added or changed; pickles; or an array that says it is larger than the file."""
    with np.load(io.BytesIO(content)) as loaded:
        arrays = {name: loaded[name] for name in loaded.files}
    way, names = draw.number(0, 7), sorted(arrays)
    name = chosen(draw, names)
    if way == 0:
        del arrays[name]
    elif way == 1:
        arrays["other"] = arrays[name]
    elif way == 2:
        arrays[name] = np.array([{"a": 1}], dtype=object)
    elif way <= 5:
        arrays[name] = changed_array(draw, arrays[name])
    file = io.BytesIO()
    (np.savez_compressed if one_in(draw, 2) else np.savez)(file, **arrays)
    return _with_absurd_shape(draw, file.getvalue()) if way == 6 else file.getvalue()


def _with_absurd_shape(draw: Draw, content: bytes) -> bytes:
    """One array's header states a shape of which the file holds nothing, deflated to nothing perhaps."""
    result = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(result, "w") as other:
        names = archive.namelist()
        target = chosen(draw, names)
        for name in names:
            data = archive.read(name)
            if name == target:
                shape = chosen(
                    draw, ["(1000000000000,)", "(-1,)", "(65536, 65536)", "(2000000000,)", "(1e9,)", "()"]
                )
                text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"
                text += " " * (63 - (len(text) + 10) % 64) + "\n"
                zeros = bytes(chosen(draw, [0, 16, 2**24]))
                data = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + zeros
            other.writestr(name, data, chosen(draw, [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))
    return result.getvalue()
