"""``befit doctor``: what is installed here, and whether it can work together."""

from __future__ import annotations

import argparse
import json
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import befit
from befit._internal.backends import choose_backend, installed_backends
from befit.errors import BefitError

# name of the import, names under which it is distributed
_PACKAGES = {
    "numpy": ("numpy",),
    "h5py": ("h5py",),
    "keras": ("keras",),
    "jax": ("jax",),
    "torch": ("torch",),
    "tensorflow": ("tensorflow", "tensorflow-cpu", "tensorflow-intel", "tensorflow-macos"),
    "pillow": ("pillow",),
}


def add_parser(commands: Any) -> None:
    """Add this subcommand."""
    parser = commands.add_parser("doctor", help="show versions, the Keras backend and the devices")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the report; 1 if something in it cannot work."""
    report = examine()
    if options.json:
        print(json.dumps(report))
    else:
        _print_report(report)
    return 1 if report["problems"] else 0


def examine() -> dict[str, Any]:
    """Return the versions, the backend of Keras, its devices, and the problems found."""
    versions = {name: _version(names) for name, names in _PACKAGES.items()}
    problems: list[str] = []
    installed = installed_backends()
    backend, origin = choose_backend() or (None, None)
    devices: list[str] = []
    if versions["keras"] is None:
        problems.append('Keras is not installed; write: pip install "befit[keras,jax]"')
    elif backend is None:
        problems.append('Keras has no backend here; write: pip install "befit[keras,jax]"')
    elif backend not in installed:
        problems.append(
            f"Keras is set to the backend {backend!r} by {origin}, but that is not installed; "
            f"set KERAS_BACKEND to one of: {', '.join(installed) or 'none is installed'}"
        )
    if backend in installed:
        devices = _devices(backend, problems)
    return {
        "befit": befit.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": versions,
        "backend": backend,
        "backend_set_by": origin,
        "devices": devices,
        "problems": problems,
    }


def _version(distributions: tuple[str, ...]) -> str | None:
    for name in distributions:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return None


def _devices(backend: str, problems: list[str]) -> list[str]:
    from befit.replicate import available_devices

    try:
        return list(available_devices(backend))
    except (BefitError, ImportError, RuntimeError) as error:
        problems.append(f"{backend} cannot list its devices: {error}")
        return []


def _print_report(report: dict[str, Any]) -> None:
    rows = [(name, report[name]) for name in ("befit", "python", "platform")]
    rows += [(name, number or "not installed") for name, number in report["packages"].items()]
    backend = report["backend"]
    rows.append(("backend", f"{backend} ({report['backend_set_by']})" if backend else "none"))
    rows.append(("devices", ", ".join(report["devices"]) or "unknown"))
    for name, value in rows:
        print(f"{name:<12}{value}")
    for problem in report["problems"]:
        print(f"problem: {problem}")
    if not report["problems"]:
        print("no problems found")
