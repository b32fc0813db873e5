"""The command line: exit codes, what is printed where."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import befit
from befit._internal import backends
from befit.cli import doctor
from befit.cli import main as command
from befit.cli.main import main


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"befit {befit.__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nothing"],
        ["get"],
        ["doctor", "--unknown"],
        ["plot", "m:n", "--rankdir", "UP"],
        ["plot", "m:n", "--input-shape", "a,b"],
    ],
)
def test_wrong_usage_is_exit_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    output = capsys.readouterr()
    assert "usage: befit" in output.err
    assert output.out == ""


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    output = capsys.readouterr().out
    assert all(name in output for name in ("demo", "doctor", "get", "summary", "plot", "profile"))


def test_ctrl_c_is_exit_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(options: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(command.doctor, "run", interrupted)
    assert main(["doctor"]) == 130
    assert capsys.readouterr().err == "befit doctor: interrupted\n"


def test_a_real_interrupt_ends_the_process_with_130(tmp_path: Path) -> None:
    """Ctrl-C while a model is being made: exit code 130, one line, no traceback."""
    (tmp_path / "slow.py").write_text(
        "import threading\ndef net():\n    print('ready', flush=True)\n    threading.Event().wait()\n"
    )
    code = (
        "import signal, sys; from befit.cli.main import main; "
        "signal.signal(signal.SIGINT, signal.default_int_handler); "  # a background job inherits it ignored
        "sys.exit(main(['summary', 'slow:net']))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors == "befit summary: interrupted\n"


def test_get_prints_the_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "source.bin"
    source.write_bytes(b"content")
    target = tmp_path / "target.bin"
    digest = hashlib.sha256(b"content").hexdigest()
    assert main(["get", source.as_uri(), "--sha256", digest, "-o", str(target)]) == 0
    assert capsys.readouterr().out == f"{target}\n"
    assert target.read_bytes() == b"content"


def test_get_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "source.bin"
    source.write_bytes(b"content")
    assert main(["get", source.as_uri(), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["bytes"] == 7
    assert Path(result["path"]).read_bytes() == b"content"
    assert Path(result["path"]).is_relative_to(os.environ["KERAS_HOME"])


def test_get_with_a_wrong_digest_is_exit_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "source.bin"
    source.write_bytes(b"content")
    assert main(["get", source.as_uri(), "--sha256", "0" * 64, "-o", str(tmp_path / "target.bin")]) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("befit get: ")
    assert not (tmp_path / "target.bin").exists()


def test_doctor_reports_versions_and_devices(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["befit"] == befit.__version__
    assert report["packages"]["keras"]
    assert report["backend"] == os.environ["KERAS_BACKEND"]
    assert report["backend_set_by"] == "KERAS_BACKEND"
    assert len(report["devices"]) >= 1
    assert report["problems"] == []
    assert main(["doctor"]) == 0
    assert "no problems found" in capsys.readouterr().out


def test_doctor_names_a_backend_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "theano")
    assert main(["doctor"]) == 1
    assert "backend 'theano' by KERAS_BACKEND" in capsys.readouterr().out


def test_doctor_reads_keras_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KERAS_BACKEND")
    path = Path(os.environ["KERAS_HOME"]) / "keras.json"
    path.write_text('{"backend": "torch"}')
    assert doctor.examine()["backend_set_by"] == str(path)
    assert doctor.examine()["backend"] == "torch"


@pytest.mark.parametrize("content", ['{"backend": "tensorflow"}', '{"backend": ', "[]"])
def test_keras_json_counts_only_if_it_can_work(content: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keras itself writes tensorflow there, installed or not."""
    monkeypatch.delenv("KERAS_BACKEND")
    monkeypatch.setattr(backends, "installed_backends", lambda: ["jax", "torch"])
    (Path(os.environ["KERAS_HOME"]) / "keras.json").write_text(content)
    assert backends.choose_backend() == ("jax", "the first one installed")
    assert backends.choose_backend(prefer="torch") == ("torch", "this command")
    assert backends.choose_backend(prefer="tensorflow") == ("jax", "the first one installed")


def test_a_module_that_imports_keras_gets_an_installed_backend(tmp_path: Path) -> None:
    """`MODULE:NAME` chooses the backend before the module is imported."""
    (tmp_path / "uses_keras.py").write_text(
        "import os\nname = os.environ['KERAS_BACKEND']\nassert name\nnet = 1\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    result = subprocess.run(
        [sys.executable, "-m", "befit", "summary", "uses_keras:net"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 1
    assert "int" in result.stderr  # the number 1 is no model; the module itself was fine
    assert "KeyError" not in result.stderr


def test_a_picture_that_cannot_be_written_is_exit_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import keras

    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save(tmp_path / "net.keras")
    target = str(tmp_path / f"{'n' * 260}.svg")  # a name that no file system takes
    assert main(["plot", str(tmp_path / "net.keras"), "-o", target]) == 1
    error = capsys.readouterr().err
    assert error.startswith("befit plot: [Errno ")
    assert error.endswith(f"{target!r}\n")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("absent.keras", "there is no file 'absent.keras'"),
        ("no_such_module_here:net", "cannot import 'no_such_module_here'"),
        ("befit.errors:Net", "module 'befit.errors' has no 'Net'"),
        ("befit.errors:__all__", "list"),
        (
            "befit.graph:Edge",
            "befit.graph:Edge cannot be called without arguments: missing a required argument",
        ),
    ],
)
@pytest.mark.parametrize("name", ["summary", "plot"])
def test_models_that_are_not_there(
    name: str, model: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([name, model]) == 1
    output = capsys.readouterr()
    assert output.err.startswith(f"befit {name}: ")
    assert message in output.err
    assert output.out == ""


def test_a_file_that_is_no_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "broken.keras"
    path.write_bytes(b"not a zip")
    assert main(["summary", str(path)]) == 1
    assert "it is not a zip archive" in capsys.readouterr().err
    path = tmp_path / "broken.h5"
    path.write_bytes(b"not an hdf5 file")
    assert main(["summary", str(path)]) == 1
    assert "Keras cannot load" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["summary", "just_a_name"],
        ["get", "no-url"],
        ["get", "file:///file", "--sha256", "00"],
    ],
)
def test_values_that_can_never_work_are_exit_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().err.startswith(f"befit {arguments[0]}: ")


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [("torch", 1, "'torch' by KERAS_BACKEND, which is not installed"), ("nope", 2, "no backend of Keras")],
)
def test_a_backend_that_cannot_be(
    name: str,
    code: int,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("KERAS_BACKEND", name)
    monkeypatch.setattr(backends, "installed_backends", lambda: ["jax"])
    (tmp_path / "net.keras").touch()
    assert main(["summary", str(tmp_path / "net.keras")]) == code
    assert message in capsys.readouterr().err


def test_summary_and_plot_of_a_saved_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import keras

    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="two")])
    model.save(tmp_path / "net.keras")
    assert main(["summary", str(tmp_path / "net.keras")]) == 0
    assert "two (Dense)" in capsys.readouterr().out
    assert main(["summary", str(tmp_path / "net.keras"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["total_params"] == 8
    picture = tmp_path / "net.svg"
    assert main(["plot", str(tmp_path / "net.keras"), "-o", str(picture)]) == 0
    assert capsys.readouterr().out == f"{picture}\n"
    assert "two: Dense" in picture.read_text()


def test_summary_of_a_torch_class_in_a_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "torch_net_module.py").write_text(
        "import torch\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.hidden = torch.nn.Linear(4, 2)\n"
        "    def forward(self, x):\n"
        "        return self.hidden(x)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert main(["summary", "torch_net_module:Net", "--input-shape", "1,4"]) == 0
    output = capsys.readouterr().out
    assert "hidden (Linear)" in output
    assert "Total params: 10" in output


def test_a_model_in_a_module_is_not_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "keras_net_module.py").write_text(
        "import keras\nnet = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name='two')])\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert main(["summary", "keras_net_module:net"]) == 0
    assert "two (Dense)" in capsys.readouterr().out


def test_a_reader_that_stops_early_is_no_traceback() -> None:
    """`befit --help | head -1`-style use: the pipe is closed while the command prints."""
    read, write = os.pipe()
    os.close(read)
    code = "import sys; from befit.cli.main import main; sys.exit(main(['doctor']))"
    result = subprocess.run(
        [sys.executable, "-c", code], stdout=write, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(write)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert "Broken pipe" not in result.stderr
