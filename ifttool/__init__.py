"""ifttool: chat conversations → training shards with loss masks that are right on every chat template."""

# Type checkers take it for true. Importing typing for it would be nine tenths of the time that this package takes.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from ifttool.api import export, mask, pack, render, run, stats, tokenize, unroll, unroll_shards, verify

__version__ = "0.1.0"
__all__ = [
    "__version__",
    "export",
    "mask",
    "pack",
    "render",
    "run",
    "stats",
    "tokenize",
    "unroll",
    "unroll_shards",
    "verify",
]


def __getattr__(name: str) -> object:
    # Public functions load on first use (PEP 562): `import ifttool` and `ifttool --help` stay fast without them. No
    # module of the package may have the name of one, since importing it would replace the function.
    if name not in __all__:
        raise AttributeError(f"module 'ifttool' has no attribute {name!r}")
    from ifttool import api  # noqa: PLC0415

    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
