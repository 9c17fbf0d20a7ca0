"""Calls a gateway as its own OpenAPI document describes it, with whatever fits the
document and much that does not. No answer may be a server error, or be of a status,
a type or a shape that the document does not tell.

    interface.py URL
"""

import os
import sys
import tempfile

from schemathesis.cli import schemathesis

CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
]


def main() -> None:
    url = sys.argv[1]
    # What it found is told where the one who started us looks.
    os.dup2(2, 1)
    arguments = ["run", f"{url}/api/v1/openapi.json", "--url", url]
    # A stream is no answer.
    arguments += ["--exclude-path", "/api/v1/stream"]
    arguments += ["--checks", ",".join(CHECKS), "--seed", "7", "--max-examples", "25"]
    # It keeps notes where it runs.
    with tempfile.TemporaryDirectory() as notes:
        os.chdir(notes)
        schemathesis(arguments)


if __name__ == "__main__":
    main()
