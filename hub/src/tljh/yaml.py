"""`from tljh.yaml import yaml`, which plugins of the older TLJH read config.yaml with: an object with load and dump."""

from typing import Any

import yaml as _yaml


class _YAML:
    def load(self, stream: Any) -> Any:
        return _yaml.safe_load(stream)

    def dump(self, data: Any, stream: Any) -> None:
        _yaml.safe_dump(data, stream, sort_keys=False)


yaml = _YAML()
