"""How an embedding model makes one vector of many: from the settings of sentence-transformers.

Sources: `modules.json` and the `config.json` of the module of the type Pooling (sentence-transformers), and
GGUF's `pooling_type` (llama.cpp's `enum llama_pooling_type`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from gguf import PoolingType

from registry.errors import DoesNotFit, MalformedFile
from registry.formats.quote import quoted
from runtimes.convert import keys
from runtimes.convert.files import SourceFiles
from runtimes.convert.values import Key

_MODULES = "modules.json"
_FLAG = "pooling_mode_"
_OTHER_ENGINE = "Run it with an engine that runs safetensors."
_FLAGS = {
    "pooling_mode_mean_tokens": PoolingType.MEAN,
    "pooling_mode_cls_token": PoolingType.CLS,
    "pooling_mode_lasttoken": PoolingType.LAST,
}
_HARMLESS = frozenset({"Transformer", "Normalize", "Dropout"})
"""What stands beside it and changes nothing, or nothing but the length of a vector, which is taken anyway."""

_NAMES = {"mean": PoolingType.MEAN, "cls": PoolingType.CLS, "lasttoken": PoolingType.LAST}


def pooling_keys(architecture: str, files: SourceFiles) -> Iterator[Key]:
    """The key that names it; none for a model without such settings. Raises DoesNotFit for a way that
    llama.cpp has not, MalformedFile for settings that are none."""
    path = _pooling_path(files)
    if path is not None:
        settings = files.json(f"{path}/config.json")
        yield keys.whole(f"{architecture}.pooling_type", _pooling(settings))


def _pooling_path(files: SourceFiles) -> str | None:
    """The folder of the pooling module. Raises DoesNotFit for a module that GGUF has no place for."""
    if _MODULES not in files:
        return None
    try:
        modules = json.loads(files.text(_MODULES))
    except (ValueError, RecursionError):
        raise MalformedFile(f"{_MODULES} is not valid JSON.") from None
    found = None
    for module in modules if isinstance(modules, list) else ():
        kind = module.get("type") if isinstance(module, dict) else None
        path = module.get("path") if isinstance(module, dict) else None
        if not isinstance(kind, str) or not isinstance(path, str):
            continue
        name = kind.rpartition(".")[2]
        if name == "Pooling":
            found = found or path
        elif name not in _HARMLESS:  # LaBSE has a layer behind its pooling
            raise DoesNotFit(
                f"The model has a module of its own beside its layers ({quoted(name)}), which would be left "
                "out.",
                hint=_OTHER_ENGINE,
            )
    return found


def _pooling(settings: Mapping[str, object]) -> PoolingType:
    modes = [name for name, value in settings.items() if name.startswith(_FLAG) and value is True]
    if len(modes) == 1 and modes[0] in _FLAGS:
        return _FLAGS[modes[0]]
    mode = settings.get("pooling_mode")
    if not modes and isinstance(mode, str) and mode in _NAMES:
        return _NAMES[mode]
    said = " and ".join(name.removeprefix(_FLAG) for name in modes) or mode  # of several it makes a long one
    raise DoesNotFit(
        f"The model pools its vectors in a way that llama.cpp does not ({quoted(said)}).",
        hint=_OTHER_ENGINE,
    )
