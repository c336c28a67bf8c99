"""Parameter sets: `presets/NAME.yaml` merged into `params.yaml`, comments kept."""

import io
from pathlib import Path
from typing import Any

from synthgate import params
from synthgate.errors import ParamsError
from synthgate.files import write_text


def names(root: Path = Path()) -> list[str]:
    """The presets there are."""
    return sorted(path.stem for path in (root / "presets").glob("*.yaml"))


def use(name: str, root: Path = Path()) -> None:
    """Merge a preset into `params.yaml`: mappings by key, all else replaced, and a key set to null is removed.

    Raises ParamsError where there is no such preset, or where the result is not valid; nothing is written then.
    """
    if name not in names(root):
        raise ParamsError(f"there is no preset {name}; the presets are {', '.join(names(root))}")
    update(params.read(root / "presets" / f"{name}.yaml"), root)


def update(changes: Any, root: Path = Path()) -> None:
    """Merge plain values into `params.yaml` as `use` does."""
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.width = 4096
    yaml.indent(mapping=2, sequence=4, offset=2)
    path = root / "params.yaml"
    params.load(path)
    current = yaml.load(path.read_text(encoding="utf-8"))
    _merge(current, changes)
    text = io.StringIO()
    yaml.dump(current, text)
    import yaml as plain

    params.parse(plain.safe_load(text.getvalue()), str(path))
    write_text(path, text.getvalue())


def _merge(current: Any, changes: Any) -> None:
    for key, value in (changes or {}).items():
        if value is None:
            current.pop(key, None)
        elif isinstance(value, dict) and isinstance(current.get(key), dict):
            _merge(current[key], value)
        else:
            current[key] = _on_one_line(value) if isinstance(value, list) else value


def _on_one_line(values: list[Any]) -> Any:
    from ruamel.yaml.comments import CommentedSeq

    out = CommentedSeq(values)
    out.fa.set_flow_style()
    return out
