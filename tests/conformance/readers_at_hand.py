"""Load the modules of other packages that read shards, without the accelerator libraries those packages also want.

``make conformance`` installs the packages without their dependencies into a folder of their own, named by
``IFTTOOL_READERS``. Modules that read and collate are the packages' own code, unchanged; what they import besides and
don't use while reading is replaced by empty stand-ins, each named where it is used.
"""

import importlib.machinery
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any


def readers_folder() -> Path:
    """Where the packages lie."""
    folder = os.environ.get("IFTTOOL_READERS")
    assert folder, "IFTTOOL_READERS names no folder; run the suite by `make conformance`, which installs the packages"
    return Path(folder)


@contextmanager
def reader_packages(*, bare: Sequence[str] = (), stubs: Sequence[str] = ()) -> Iterator[None]:
    """Make the packages importable in the block, and forget them afterwards.

    Args:
        bare: Packages whose ``__init__`` is not run: it would import all of the package.
        stubs: Modules, with everything below them, replaced by :class:`StandIn`.
    """
    folder = readers_folder()
    before, path = dict(sys.modules), list(sys.path)
    finder = _StubFinder(tuple(stubs))
    sys.meta_path.insert(0, finder)
    sys.path.append(str(folder))
    for name in bare:
        package = ModuleType(name)
        package.__path__ = [str(folder.joinpath(*name.split(".")))]
        sys.modules[name] = package
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        sys.path[:] = path
        own = {place.name for place in folder.iterdir()}
        for name in sys.modules.keys() - before.keys():
            if isinstance(sys.modules[name], StandIn) or name.partition(".")[0] in own:
                del sys.modules[name]


class _Anything(type):
    """The type of classes that do nothing: attributes are such classes again, and one can derive from them."""

    def __new__(cls, name: str, bases: tuple[type, ...] = (), body: dict[str, Any] | None = None) -> "_Anything":
        # A class of its own takes any arguments; one that derives from it is what the package says.
        return super().__new__(cls, name, bases, body or {"__init__": lambda _self, *_arguments, **_named: None})

    def __init__(cls, name: str, bases: tuple[type, ...] = (), body: dict[str, Any] | None = None) -> None:
        super().__init__(name, bases, body or {})

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Anything(name)


class StandIn(ModuleType):
    """A module in which every name is a class that does nothing."""

    __path__: Sequence[str] = ()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Anything(name)


class _StubFinder:
    """Finds a :class:`StandIn` for the modules it was given, and is its loader."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names

    def find_spec(self, name: str, _path: object = None, _target: object = None) -> Any:
        if any(name == stub or name.startswith(f"{stub}.") for stub in self._names):
            return importlib.machinery.ModuleSpec(name, self, is_package=True)  # type: ignore[arg-type]
        return None

    def create_module(self, spec: Any) -> ModuleType:
        return StandIn(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Everything is there."""
