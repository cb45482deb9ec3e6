"""Read configuration files into trees of values."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from sdlcore.settings import Json
from sdlcore.text import printable


class ConfigError(ValueError):
    """A configuration was refused. Each line of the message is one problem, after the path of its key."""

    def __init__(self, problems: Iterable[str]) -> None:
        super().__init__("\n".join(["configuration refused:", *(f"  {printable(problem)}" for problem in problems)]))


def load_yaml(path: str | Path) -> Json:
    """Read one YAML or JSON file; ConfigError, which names file and line, if that fails or a key is repeated."""
    try:
        loader = _Loader(Path(path).read_bytes())
        loader.name = str(path)
        return loader.get_single_data()
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read ({error.strerror})"]) from error
    except Exception as error:  # PyYAML lets errors of Python's constructors through, from KeyError to RecursionError
        raise ConfigError([f"{path}: not readable as YAML ({' '.join(str(error).split())})"]) from error


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which also refuses repeated keys in a mapping instead of keeping the last."""

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        keys = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode) and not key.tag.endswith(":merge")]
        values = set()
        for key in keys:
            value = self.construct_object(key)  # 0.1 and 0.10 are the same key, as are yes and true
            if value in values:
                problem = f"the key {value} occurs twice; leave one out"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            values.add(value)
        return node


# a number such as 1e-3, which is text in YAML 1.1 and a number in YAML 1.2
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$"), list("-+.0123456789")
)
