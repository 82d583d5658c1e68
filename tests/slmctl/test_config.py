from pathlib import Path

import pytest
from platformdirs.macos import MacOS
from platformdirs.unix import Unix

from slmctl.config import user_data_folder


@pytest.mark.parametrize("data_home", ["", "/data"])
def test_the_default_home_is_platformdirs(monkeypatch: pytest.MonkeyPatch, data_home: str) -> None:
    """The folder is written out in config.py because platformdirs is slow to import; they must agree."""
    environment = {"HOME": "/home/somebody", "XDG_DATA_HOME": data_home}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert user_data_folder(environment, "linux") == Path(Unix("slmctl").user_data_dir)
    if not data_home:  # platformdirs honours XDG_DATA_HOME on macOS too, in some versions
        assert user_data_folder(environment, "darwin") == Path(MacOS("slmctl", appauthor=False).user_data_dir)
