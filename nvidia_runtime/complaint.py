# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a JSON document, with line and column.  Ring: elsewhere."""

from __future__ import annotations

import json


def of(data: bytes) -> str:
    """Say what is wrong with a document, "" if nothing is."""
    if not data.strip():
        return "is empty, not a JSON document"
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        return f"is not UTF-8: byte 0x{data[error.start]:02x} at offset {error.start}"
    try:
        json.loads(text, parse_constant=dict[str, float]().__getitem__)
    except json.JSONDecodeError as error:
        what = (error.msg[0].lower() + error.msg[1:]).removesuffix(" at")
        return f"is not JSON: line {error.lineno}, column {error.colno}: {what}"
    except KeyError as error:
        return f"is not JSON: {error.args[0]} is no JSON number"
    except RecursionError:
        return "is nested too deeply"
    except ValueError:  # CPython's limit of int()
        return "has a number of too many digits"
    return ""
