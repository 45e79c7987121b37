"""Bring text of any encoding to UTF-8, and tell the values that are no text."""

import codecs

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# Stands for bytes that are no text: UTF-8 has no lone surrogates, so that a value with one is told as such.
NO_TEXT = "\udc80"
MARKING = "penstock.mark"
codecs.register_error(MARKING, lambda fault: (NO_TEXT, fault.end))  # type: ignore[attr-defined]


def as_utf8(file: pa.NativeFile, encoding: str) -> pa.NativeFile:
    """Return a file in UTF-8; bytes that are no text in `encoding` become such as are none in UTF-8."""
    if is_utf8(encoding):
        return file
    decoder = codecs.getincrementaldecoder(encoding)(MARKING)

    def recode(piece: bytes) -> bytes:
        return decoder.decode(bytes(piece), final=not piece).encode("utf-8", "surrogatepass")

    return pa.TransformInputStream(file, recode)


def is_utf8(encoding: str) -> bool:
    """Tell whether an encoding is UTF-8, by any of its names."""
    return codecs.lookup(encoding).name == "utf-8"


def to_text(column: pa.Array) -> tuple[pa.Array, np.ndarray]:
    """Return (binary values as strings, the rows of those that are no UTF-8, which come out null)."""
    try:
        return column.cast(pa.string()), np.zeros(0, np.int64)
    except pa.ArrowInvalid:
        is_ascii = pc.string_is_ascii(column.view(pa.string())).fill_null(True).to_numpy(zero_copy_only=False)
    suspects = np.flatnonzero(~is_ascii)
    wrong = np.array([row for row in suspects.tolist() if fault_in(column[row].as_py())], np.int64)
    is_wrong = np.zeros(len(column), bool)
    is_wrong[wrong] = True
    return pc.if_else(pa.array(is_wrong), pa.scalar(None, column.type), column).cast(pa.string()), wrong


def fault_in(value: bytes) -> str | None:
    """Return what is wrong with a value that is no UTF-8, and where, or None."""
    try:
        value.decode("utf-8")
    except UnicodeDecodeError as fault:
        return f"{fault.reason} 0x{value[fault.start]:02x} at byte {fault.start} of {value[:80]!r}"
    return None
