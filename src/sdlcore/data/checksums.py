"""Seal HDF5 files with checksums at their end, and find damaged bytes before HDF5 reads them.

libhdf5 trusts what it reads: a table with one flipped bit may make it loop forever, or crash. So bytes are checked
before it sees them. It ignores what stands behind its own end of a file.
"""

import os
import struct
import zlib
from pathlib import Path

import numpy as np

BLOCK = 2**16
SEAL = struct.Struct("<8sQI")  # magic, size of what stands before the checksums, CRC-32 of both
SEAL_MAGIC = b"sdlseal1"


def append_seal(path: str | Path) -> None:
    """Append the CRC-32 of every 64 KiB to a finished file, for `broken_seal` to check it by."""
    with Path(path).open("rb+") as file:
        size = file.seek(0, os.SEEK_END)
        crcs = np.array([_crc(file.fileno(), start, size) for start in range(0, size, BLOCK)], dtype="<u4").tobytes()
        file.write(crcs + SEAL.pack(SEAL_MAGIC, size, zlib.crc32(crcs + SEAL_MAGIC + size.to_bytes(8, "little"))))


def broken_seal(path: str | Path) -> str | None:
    """Return where a file is not what it was when it was sealed, for the end of a sentence, or None.

    Raises
    ------
    LookupError
        If it ends without a seal.
    """
    with Path(path).open("rb") as opened:
        file, whole = opened.fileno(), Path(path).stat().st_size
        footer = os.pread(file, SEAL.size, max(0, whole - SEAL.size))
        if len(footer) < SEAL.size or footer[:8] != SEAL_MAGIC:
            raise LookupError(f"{path}: has no seal")
        _, size, expected = SEAL.unpack(footer)
        count = -(-size // BLOCK)
        if whole != size + 4 * count + SEAL.size:
            return f"it has {whole} bytes, not those of its seal"
        crcs = os.pread(file, 4 * count, size)
        if zlib.crc32(crcs + footer[:16]) != expected:
            return "its seal is damaged"
        for block, crc in enumerate(np.frombuffer(crcs, "<u4").tolist()):
            start = block * BLOCK
            if _crc(file, start, size) != crc:
                return f"bytes {start} to {min(size, start + BLOCK) - 1} are not what was written"
    return None


def _crc(file: int, start: int, size: int) -> int:
    return zlib.crc32(os.pread(file, min(BLOCK, size - start), start))
