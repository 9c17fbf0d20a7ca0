"""Reads pictures as any reader of XML does, and tells what is in them.

    picture.py FILE...

Prints a line for each file: its root, its size, the color behind everything, and its
texts, each with its place and length.
"""

import json
import sys
from xml.etree import ElementTree

SVG = "{http://www.w3.org/2000/svg}"


def told(path):
    root = ElementTree.parse(path).getroot()
    return {
        "root": root.tag.removeprefix(SVG),
        "width": root.get("width"),
        "height": root.get("height"),
        "box": root.get("viewBox"),
        "ground": root.find(f"{SVG}rect").get("fill"),
        "texts": [
            {
                "x": int(text.get("x")),
                "y": int(text.get("y")),
                "length": int(text.get("textLength")),
                "text": "".join(text.itertext()),
            }
            for text in root.iter(f"{SVG}text")
        ],
    }


for path in sys.argv[1:]:
    print(json.dumps(told(path)))
