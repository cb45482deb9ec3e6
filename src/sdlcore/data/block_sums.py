"""Checksums of the blocks of a file that is written in pieces, so that no damaged byte is taken for what was written.

libhdf5 trusts what it reads: a table with one flipped bit may make it loop forever, or crash. So bytes are checked
before it sees them: those of an unfinished file against what its last commit noted, those of a finished one against the
seal at its end.
"""

import os
import struct
import zlib
from pathlib import Path

import numpy as np

BLOCK = 2**16
RECORD = struct.Struct("<8sQQQ")  # magic, number of the commit, size of the file, blocks that follow
ENTRY = np.dtype([("block", "<u4"), ("crc", "<u4")])
END = struct.Struct("<I")  # CRC-32 of the record before it
MAGIC = b"sdlsums1"
SEAL = struct.Struct("<8sQI")  # magic, size of what stands before the checksums, CRC-32 of both
SEAL_MAGIC = b"sdlseal1"


class BlockSums:
    """CRC-32 of every 64 KiB of a file as of its commits, in a file beside it to which each commit appends.

    Parameters
    ----------
    path
        File of the checksums.

    Attributes
    ----------
    number
        Of the last commit, counted from 1; 0 before the first.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        self._crcs: dict[int, int]
        self._touched: set[int]
        self.load(None)

    def touch(self, start: int, stop: int) -> None:
        """Note that bytes ``start:stop`` of the file have changed since the last commit."""
        self._touched.update(range(start // BLOCK, -(-stop // BLOCK)))

    def commit(self, file: int) -> None:
        """Add the checksums of what has changed in an open file, or of what lies behind its former end."""
        size = os.fstat(file).st_size
        if size != self._size:
            self.touch(min(size, self._size) // BLOCK * BLOCK, size)
        blocks = sorted(block for block in self._touched if block * BLOCK < size)
        entries = np.array([(block, _crc(file, block)) for block in blocks], dtype=ENTRY)
        record = RECORD.pack(MAGIC, self.number + 1, size, len(entries)) + entries.tobytes()
        record += END.pack(zlib.crc32(record))
        left, place = memoryview(record), self._end
        while left:
            written = os.pwrite(self._file, left, place)
            left, place = left[written:], place + written
        self._take(memoryview(record))

    def load(self, number: int | None) -> None:
        """Take the commits up to one that are there, None for all, and drop what follows."""
        self.number = self._end = self._size = 0
        self._crcs, self._touched = {}, set()
        content = memoryview(self._path.read_bytes())
        while (number is None or self.number < number) and self._take(content[self._end :]):
            pass
        os.ftruncate(self._file, self._end)

    def damage(self, file: int) -> str | None:
        """Return where an open file is not what it was at the last commit, for the end of a sentence, or None."""
        size = os.fstat(file).st_size
        if self.number == 0:
            return "it has no checksums"
        if size != self._size:
            return f"it has {size} bytes, not {self._size}"
        for block in range(-(-size // BLOCK)):
            if _crc(file, block) != self._crcs.get(block):
                return f"bytes {block * BLOCK} to {min(size, (block + 1) * BLOCK) - 1} are not what was written"
        return None

    def close(self, keep: bool) -> None:
        """Close, and remove the checksums unless they are to be kept."""
        if not keep:
            self._path.unlink(missing_ok=True)
        os.close(self._file)

    def _take(self, content: memoryview) -> bool:
        """Take the record that bytes begin with, if it is whole and the next one."""
        if len(content) < RECORD.size + END.size:
            return False
        magic, number, size, count = RECORD.unpack_from(content)
        end = RECORD.size + count * ENTRY.itemsize
        if magic != MAGIC or number != self.number + 1 or len(content) < end + END.size:
            return False
        if END.unpack_from(content, end) != (zlib.crc32(content[:end]),):
            return False
        entries = np.frombuffer(content, dtype=ENTRY, count=count, offset=RECORD.size)
        self._crcs |= dict(zip(entries["block"].tolist(), entries["crc"].tolist(), strict=True))
        self.number, self._size = number, size
        self._end += end + END.size
        self._touched = set()
        return True


def seal(file: int) -> bytes:
    """Return what to append to an open, finished file for `broken_seal` to check it by. HDF5 ignores it."""
    size = os.fstat(file).st_size
    crcs = np.array([_crc(file, block) for block in range(-(-size // BLOCK))], dtype="<u4").tobytes()
    return crcs + SEAL.pack(SEAL_MAGIC, size, zlib.crc32(crcs + SEAL_MAGIC + size.to_bytes(8, "little")))


def append_seal(path: str | Path) -> None:
    """Seal a finished file."""
    with Path(path).open("rb+") as file:
        content = seal(file.fileno())
        file.seek(0, os.SEEK_END)
        file.write(content)


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
            last = min(size, (block + 1) * BLOCK)
            if zlib.crc32(os.pread(file, last - block * BLOCK, block * BLOCK)) != crc:
                return f"bytes {block * BLOCK} to {last - 1} are not what was written"
    return None


def _crc(file: int, block: int) -> int:
    return zlib.crc32(os.pread(file, BLOCK, block * BLOCK))
