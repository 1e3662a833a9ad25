"""What the machine must have for a test: skipped without it on a desk, failed without it in CI."""

import importlib
import os
import shutil
from pathlib import Path
from types import ModuleType
from typing import NoReturn

import pytest

NODE_MODULES = Path(__file__).parent.parent / "node_modules"


def require(program: str) -> str:
    """The path of `program`; without it the test is skipped, or fails where the environment variable CI is set."""
    path = shutil.which(program)
    if path is None:
        _missing(f"{program} is not on PATH")
    return path


def require_node_module(name: str) -> Path:
    """The folder of the Node module `name`, installed by `npm ci --prefix tests`; without it as `require` says."""
    folder = NODE_MODULES / name
    if not (folder / "package.json").is_file():
        _missing(f"the Node module {name} is not installed (npm ci --prefix tests)")
    return folder


def require_package(name: str) -> ModuleType:
    """The Python package `name`; without it as `require` says."""
    try:
        return importlib.import_module(name)
    except ImportError:
        _missing(f"the Python package {name} is not installed")


def _missing(what: str) -> NoReturn:
    if os.environ.get("CI", "").lower() in {"", "0", "false", "no"}:
        pytest.skip(what)
    pytest.fail(f"{what}, and under CI nothing may be skipped for that")
