"""Pack the nested state of an optimiser or a schedule into tensors, so that checkpoints need no pickle."""

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

_REST = "#rest"
"""Name of the tensor that holds the rest of the state, as JSON."""


def pack(name: str, owner: object, state: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return a state as tensors whose names begin with ``name``.

    Parameters
    ----------
    name
        Name of the state in the checkpoint.
    owner
        Owner of the state, for the error message.
    state
        Nested dictionaries, lists and tuples of tensors, numbers, strings and None, as ``state_dict()`` returns them.

    Raises
    ------
    ValueError
        If the state contains any other type.
    """
    tensors: list[Tensor] = []

    def plain(value: Any) -> Any:
        if isinstance(value, Tensor):
            tensors.append(value.detach().clone())  # a file cannot hold two tensors that share memory
            return {"tensor": len(tensors) - 1}
        if isinstance(value, Mapping):
            return {"dict": [[plain(key), plain(one)] for key, one in value.items()]}
        if isinstance(value, list | tuple):
            return {type(value).__name__: [plain(one) for one in value]}
        if value is None or type(value) in (bool, int, float, str):
            return value
        raise ValueError(
            f"the state of {type(owner).__name__} holds a {type(value).__name__}, which a checkpoint cannot keep; "
            "omit out=, and save the dictionary when it is trained"
        )

    text = json.dumps(plain(state)).encode()
    entries = {f"{name}/{number}": tensor for number, tensor in enumerate(tensors)}
    return entries | {f"{name}/{_REST}": torch.frombuffer(bytearray(text), dtype=torch.uint8)}


def unpack(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the state that was packed under this name."""

    def nested(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        ((kind, content),) = value.items()
        if kind == "tensor":
            return tensors[f"{name}/{content}"]
        if kind == "dict":
            return {nested(key): nested(one) for key, one in content}
        several = [nested(one) for one in content]
        return tuple(several) if kind == "tuple" else several

    state: dict[str, Any] = nested(json.loads(bytes(tensors[f"{name}/{_REST}"].tolist())))
    return state
