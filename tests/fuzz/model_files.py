"""Model files that are wrong in one or two ways, most of them under checksums that are right."""

import hashlib
import io
import json
import re
import zipfile

from tests.fuzz.draw import Draw, chosen, one_in
from tests.fuzz.mutations import NUMBERS, changed_json, damaged, safetensors_bytes

MANIFEST, RECIPE, WEIGHTS = "manifest.json", "recipe.toml", "weights.safetensors"
VALUES = ["true", "[]", "[0]", "{}", '""', '"off"', '"gru"', '"auto"', "nan", "-inf", "1e400", "[" * 5000]
OPTION = re.compile(r"^(\w+ = )(.+)$", re.M)


def wrong_model(draw: Draw, content: bytes) -> bytes:
    """From a sound model file."""
    if one_in(draw, 8):
        return damaged(draw, content)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
        how = archive.infolist()[0].compress_type
    for _ in range(draw.number(1, 2)):
        name = chosen(draw, [WEIGHTS, WEIGHTS, WEIGHTS, RECIPE, RECIPE, *members])
        members[name] = _wrong_member(draw, name, members[name])
    return sealed(members, how)


def _wrong_member(draw: Draw, name: str, content: bytes) -> bytes:
    if one_in(draw, 8):
        return damaged(draw, content)
    if name == WEIGHTS:
        return safetensors_bytes(draw, content)
    if name == RECIPE:
        return changed_recipe(draw, content)
    return changed_json(draw, content) if name.endswith(".json") else damaged(draw, content)


def changed_recipe(draw: Draw, content: bytes) -> bytes:
    """One option of the TOML text has another value, or its line is gone."""
    text = content.decode(errors="replace")
    places = list(OPTION.finditer(text))
    if not places:
        return damaged(draw, content)
    found = chosen(draw, places)
    if one_in(draw, 10):
        return (text[: found.start()] + text[found.end() :]).encode()
    options = [*map(str, NUMBERS), *VALUES, found[2] * 2, chosen(draw, places)[2]]
    if found[2].lstrip("-").isdigit():
        options = [
            *options,
            *(str(int(found[2]) + step) for step in (-2, -1, 1, 2, 3)),
            str(2 * int(found[2])),
        ]
    value = chosen(draw, options)
    return f"{text[: found.start()]}{found[1]}{value}{text[found.end() :]}".encode()


def sealed(members: dict[str, bytes], how: int) -> bytes:
    """A zip of the members whose manifest tells their sizes and checksums, if it still is one."""
    try:
        manifest = json.loads(members[MANIFEST])
        manifest["members"] = {
            name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for name, content in members.items()
            if name != MANIFEST
        }
        members = {**members, MANIFEST: json.dumps(manifest).encode("utf-8", "surrogatepass")}
    except (ValueError, TypeError, RecursionError):
        pass
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", how) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, how)
    return file.getvalue()
