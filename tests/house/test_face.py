"""The public face: what it names, what it costs, what it promises."""

from __future__ import annotations

import ast
import importlib.metadata
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import befit
from befit import errors

# Positional order and defaults, as documented for Keras 2.1. What befit adds is keyword-only and comes after.
DOCUMENTED = {
    "HDF5Matrix": "(datapath, dataset, start=0, end=None, normalizer=None)",
    "to_categorical": "(y, num_classes=None)",
    "normalize": "(x, axis=-1, order=2)",
    "get_file": (
        "(fname, origin, untar=False, md5_hash=None, file_hash=None, cache_subdir='datasets', "
        "hash_algorithm='auto', extract=False, archive_format='auto', cache_dir=None)"
    ),
    "print_summary": "(model, line_length=None, positions=None, print_fn=print)",
    "plot_model": "(model, to_file='model.png', show_shapes=False, show_layer_names=True, rankdir='TB')",
    "multi_gpu_model": "(model, gpus)",
}
NO_DEFAULT = inspect.Parameter.empty
FRAMEWORKS = ("keras", "torch", "jax", "tensorflow", "ray")


def documented_parameters(signature: str) -> list[tuple[str, object]]:
    arguments = ast.parse(f"def f{signature}: pass").body[0].args  # type: ignore[attr-defined]
    defaults = [NO_DEFAULT] * (len(arguments.args) - len(arguments.defaults))
    defaults += [
        print if isinstance(node, ast.Name) else ast.literal_eval(node) for node in arguments.defaults
    ]
    return [(argument.arg, default) for argument, default in zip(arguments.args, defaults, strict=True)]


@pytest.mark.parametrize("name", DOCUMENTED)
def test_signature_is_the_documented_one(name: str) -> None:
    parameters = inspect.signature(getattr(befit, name)).parameters.values()
    positional = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    wanted = documented_parameters(DOCUMENTED[name])
    assert [p.name for p in positional] == [parameter for parameter, _ in wanted]
    for parameter, (_, default) in zip(positional, wanted, strict=True):
        if default is not NO_DEFAULT:  # a required argument may be given a default, never the reverse
            assert parameter.default == default
    rest = [p for p in parameters if p.kind is not p.POSITIONAL_OR_KEYWORD]
    assert all(p.kind is p.KEYWORD_ONLY for p in rest)


def test_every_public_name_is_there() -> None:
    assert len(set(befit.__all__)) == len(befit.__all__)
    for name in befit.__all__:
        assert getattr(befit, name) is not None
        assert name in dir(befit)


def test_lazy_table_and_typed_imports_name_the_same() -> None:
    """What a type checker sees under TYPE_CHECKING is what a program gets."""
    tree = ast.parse(Path(inspect.getfile(befit)).read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    typed = {alias.name for node in block.body for alias in node.names}  # type: ignore[attr-defined]
    assert typed == set(befit.__all__) - {"__version__"}


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'to_categorial'"):
        befit.to_categorial  # noqa: B018


@pytest.mark.parametrize("name", [name for name in befit.__all__ if name != "__version__"])
def test_public_names_are_documented(name: str) -> None:
    """Functions and the documented classes have an example and name their source."""
    value = getattr(befit, name)
    assert value.__doc__
    if name in {*DOCUMENTED, "CustomObjectScope", "Sequence"}:
        text = f"{value.__doc__}{getattr(value.__init__, '__doc__', '')}"
        assert ">>>" in text
        assert "Source:" in text


def test_import_loads_no_framework() -> None:
    """`import befit` loads no framework, no h5py, no network code, not even NumPy."""
    code = "import sys, befit; print(*sorted(m for m in sys.modules if '.' not in m))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not set(loaded) & {*FRAMEWORKS, "h5py", "urllib3", "tqdm", "PIL", "numpy"}


@pytest.mark.parametrize("room", ["arrays", "files", "graph", "hdf5", "loading", "objects", "replicate"])
def test_room_imports_no_framework(room: str) -> None:
    code = f"import sys, befit.{room}; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not set(loaded) & set(FRAMEWORKS)


def test_error_tree_is_drawn_as_it_is() -> None:
    drawn = {
        line.strip("│├└─ ").partition(" ")[0] for line in (errors.__doc__ or "").splitlines() if "──" in line
    }
    classes = {name for name in errors.__all__ if name != "BefitError"}
    assert drawn == classes
    for name in classes:
        error = getattr(errors, name)
        assert issubclass(error, errors.BefitError)
        builtins = [base for base in error.__mro__ if base.__module__ == "builtins"]
        assert builtins[0] is not Exception, f"{name} is no builtin error"
        assert str(error('with "quotes"')) == 'with "quotes"'


def source_files() -> list[Path]:
    root = Path(__file__).parents[2]
    return [
        path for folder in ("src", "tests", "benchmarks", "tools") for path in (root / folder).rglob("*.py")
    ]


def test_no_file_is_longer_than_400_lines() -> None:
    long = {path.name: n for path in source_files() if (n := len(path.read_text().splitlines())) > 400}
    assert not long


def test_every_module_has_a_docstring_and_a_good_name() -> None:
    drawers = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "managers"}
    for module in pkgutil.walk_packages(befit.__path__, "befit."):
        assert not set(module.name.split(".")) & drawers
    for path in source_files():
        if "src" in path.parts:
            assert ast.get_docstring(ast.parse(path.read_text())), path


def test_version_is_the_distribution_version() -> None:
    assert importlib.metadata.version("befit") == befit.__version__
