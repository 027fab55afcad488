"""Makes `libs/imex/dicom/iods.json` from PS3.3, as highdicom has it in tables.

`python -m imex.testing.iods` writes the file anew.
"""

import json
import pkgutil
from pathlib import Path
from typing import Any

from pydicom.datadict import tag_for_keyword

SOURCE = "PS3.3 (modules that are mandatory, attributes of Type 1 and 2 at the top level), by the tables of "
_LEFT_OUT = frozenset({"basic-directory"})
_ENCODED_BY_SYNTAX = frozenset({"PixelData", "FloatPixelData", "DoubleFloatPixelData"})
"""One of several may stand for it, which a table of single attributes cannot say."""


def made() -> dict[str, Any]:
    """The table: SOP Class UID to information object, and that to its attributes of Type 1 and Type 2."""
    import highdicom

    classes, modules, attributes = (
        json.loads(pkgutil.get_data("highdicom", f"_standard/{name}.json") or b"")
        for name in ("sop_class_iod_map", "iod_module_map", "module_attribute_map")
    )
    wanted = {uid: iod for uid, iod in classes.items() if iod not in _LEFT_OUT}
    iods = {}
    for iod in sorted(set(wanted.values())):
        types: dict[int, str] = {}
        for module in modules[iod]:
            if module["usage"] != "M":
                continue
            for attribute in attributes.get(module["key"], ()):
                keyword, type_ = attribute["keyword"], attribute["type"]
                tag = tag_for_keyword(keyword)
                if attribute["path"] or type_ not in {"1", "2"} or tag is None:
                    continue
                if keyword not in _ENCODED_BY_SYNTAX:
                    types[int(tag)] = min(type_, types.get(int(tag), "2"))
        iods[iod] = {
            type_: [f"{tag:08X}" for tag in sorted(types) if types[tag] == type_] for type_ in ("1", "2")
        }
    return {"source": f"{SOURCE}highdicom {highdicom.__version__}", "sop_classes": wanted, "iods": iods}


def rendered() -> str:
    """The file's text: a line for each information object."""
    table = made()
    lines = [f'{{"source": {json.dumps(table["source"])},']
    for name in ("sop_classes", "iods"):
        entries = (f"{json.dumps(key)}: {json.dumps(value)}" for key, value in table[name].items())
        lines.append(f'"{name}": {{\n' + ",\n".join(entries) + ("\n}," if name == "sop_classes" else "\n}"))
    return "\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    import imex.dicom

    Path(imex.dicom.__file__).with_name("iods.json").write_text(rendered(), encoding="utf-8")
