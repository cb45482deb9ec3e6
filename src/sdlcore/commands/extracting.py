"""Write activations of a model to a store."""

from pathlib import Path
from typing import Annotated

import tyro

from sdlcore.commands.arguments import ContextLength, TextColumn
from sdlcore.extraction.config import TextOptions
from sdlcore.extraction.extract import extract as extract_activations
from sdlcore.extraction.items import TokensOf
from sdlcore.settings import Precision


def extract(
    model: Annotated[str, tyro.conf.Positional],
    inputs: Annotated[str, tyro.conf.Positional],
    at: tuple[str, ...],
    out: Path,
    tokens: TokensOf = "all",
    max_tokens: int | None = None,
    batch_size: int = 16,
    context_length: ContextLength = None,
    text_column: TextColumn = "text",
    roles: tuple[str, ...] = (),
    max_unreadable: float = 0.01,
    workers: int = 0,
    dtype: Precision = "float32",
    store_dtype: str = "float16",
) -> None:
    """Write activations of a model on a text or a folder of images to a store. The same command resumes.

    Args:
        model: a folder with a model of transformers, its name at the hub, a .gguf file,
            open_clip:ARCHITECTURE:PRETRAINED (its image tower), or timm:MODEL
        inputs: a text file, JSON lines, Parquet, a folder of these, or dataset:OWNER/NAME; or a folder of images
        at: modules whose output is read, by their paths, such as layers.6; PATH:input for what enters a module; or
            resid_post.6 for decoders, counted from 0
        out: a file (.h5), in which the places are sites; or a folder for a store of each place
        tokens: rows of each input: all tokens, patches, or one row, of the token cls or last, or the mean
        max_tokens: rows of the store; all inputs if left out
        batch_size: contexts, documents or images in a pass
        roles: roles in chats whose tokens become rows; all if left out
        max_unreadable: largest share of images that may be unreadable
        workers: processes that decode images
        dtype: precision of the forward pass
        store_dtype: precision of the rows, float16, bfloat16 or float32
    """
    opened = extract_activations(
        model,
        inputs,
        at=at,
        out=out,
        tokens=tokens,
        max_tokens=max_tokens,
        batch_size=batch_size,
        context_length=context_length,
        text_options=TextOptions(column=text_column),
        roles=roles or None,
        max_unreadable=max_unreadable,
        workers=workers,
        dtype=dtype,
        store_dtype=store_dtype,
    )
    for store in opened if isinstance(opened, list) else [opened]:
        print(store)
        store.close()
