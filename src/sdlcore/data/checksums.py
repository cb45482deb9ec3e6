"""Append checksums to HDF5 files, and find damaged bytes before HDF5 reads them.

libhdf5 trusts its input: one flipped bit in a table may make it loop forever or crash. So all bytes are checked before
libhdf5 opens the file. HDF5 ignores the checksums, because they come after what HDF5 takes for the end of the file.
"""

import os
import struct
import zlib
from pathlib import Path

import numpy as np

BLOCK = 2**16
FOOTER = struct.Struct("<8sQI")  # magic, size of the file before the checksums, CRC-32 of both and the checksums
MAGIC = b"sdlseal1"


def append_checksums(path: str | Path) -> None:
    """Append the CRC-32 of every 64 KiB block to a finished file; `find_damage` verifies them."""
    with Path(path).open("rb+") as file:
        size = file.seek(0, os.SEEK_END)
        crcs = np.array([_crc(file.fileno(), start, size) for start in range(0, size, BLOCK)], dtype="<u4").tobytes()
        file.write(crcs + FOOTER.pack(MAGIC, size, zlib.crc32(crcs + MAGIC + size.to_bytes(8, "little"))))


def find_damage(path: str | Path) -> str | None:
    """Verify the checksums at a file's end; describe the first damage, for the end of a sentence, or return None.

    Raises
    ------
    LookupError
        If the file does not end with checksums.
    """
    with Path(path).open("rb") as opened:
        file, whole = opened.fileno(), Path(path).stat().st_size
        footer = os.pread(file, FOOTER.size, max(0, whole - FOOTER.size))
        if len(footer) < FOOTER.size or footer[:8] != MAGIC:
            raise LookupError(f"{path}: does not end with its checksums")
        _, size, expected = FOOTER.unpack(footer)
        count = -(-size // BLOCK)
        if whole != size + 4 * count + FOOTER.size:
            return f"it has {whole} bytes, expected {size + 4 * count + FOOTER.size}"
        crcs = os.pread(file, 4 * count, size)
        if zlib.crc32(crcs + footer[:16]) != expected:
            return "its checksums are damaged"
        for block, crc in enumerate(np.frombuffer(crcs, "<u4").tolist()):
            start = block * BLOCK
            if _crc(file, start, size) != crc:
                return f"bytes {start} to {min(size, start + BLOCK) - 1} are not what was written"
    return None


def _crc(file: int, start: int, size: int) -> int:
    return zlib.crc32(os.pread(file, min(BLOCK, size - start), start))
