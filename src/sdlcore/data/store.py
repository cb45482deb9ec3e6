"""The activation store: one HDF5 file of paired activations, whatever source they come from.

Layout, with N samples:

    input           N x n_p     the representation x_p
    target          N x n_r     the representation x_r of the same samples, where it differs from x_p
    labels          N           class index of each sample, -1 for none, where classes are known
    class_names     C           UTF-8 names of the classes, where they are known
    references/*    N           where each sample came from, one dataset a column (document, position, path, ...)
    features/{data,indices,indptr}, attribute shape
                                ground-truth coefficients as a CSR matrix (N x n), where they are known
    checksums/*     B x 32      for each of these columns the SHA-256 of every 1024 rows

and the attributes `format`, `version`, `provenance` (JSON: what made the file) and `checksum`, over the columns.
input and target are float16, float32, or bfloat16: then uint16 with the attribute `dtype`. Rows are chunked so
that reading whole chunks in random order is fast; reading single random rows is not.

An index has the same columns as virtual datasets over the files that `shards/file` names, relative to the index, and
`shards/rows` and `shards/checksum` of each.
"""

from sdlcore.data.layout import FORMAT, VERSION, StoreError
from sdlcore.data.reading import ActivationStore, content_digest, open_checked, verify
from sdlcore.data.resume import ResumableWriter, resume_store
from sdlcore.data.shards import shard_bounds, unite
from sdlcore.data.writing import StoreWriter, create_store

__all__ = [
    "FORMAT",
    "VERSION",
    "ActivationStore",
    "ResumableWriter",
    "StoreError",
    "StoreWriter",
    "content_digest",
    "create_store",
    "open_checked",
    "resume_store",
    "shard_bounds",
    "unite",
    "verify",
]
