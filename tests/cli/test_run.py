import os
import signal
import subprocess
import sys

import pytest
from click.testing import CliRunner

import gradwatch
from gradwatch.cli import main

TRAIN = """\
import keras, numpy as np, sys

x = np.ones((64, 4), "float32")
if "nan" in sys.argv:
    x[40] = np.nan
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)], name="net")
model.compile("sgd", "mse")
model.fit(x, x[:, :1], verbose=0, shuffle=False)
print("trained", sys.argv[1:])
sys.exit(5 if "five" in sys.argv else 0)
"""


@pytest.fixture(autouse=True)
def _quiet_environment(monkeypatch):
    for name in ("GRADWATCH_RUN_DIR", "GRADWATCH_FAIL_FAST"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def script(tmp_path):
    def write(text):
        (tmp_path / "train.py").write_text(text)
        return str(tmp_path / "train.py")

    return write


def invoke(*args, **env):
    return CliRunner(env={"COLUMNS": "200", **env}).invoke(main, ["run", *map(str, args)])


def test_output_arguments_and_status_are_the_scripts(script):
    result = invoke(script("import sys; print(sys.argv[1:]); sys.exit(7)"), "--json", "-m", "--", "-h")
    assert result.exit_code == 7
    assert result.stdout == "['--json', '-m', '--', '-h']\n"


def test_a_script_that_never_fits_is_told(script):
    result = invoke(script("print('done')"))
    assert result.exit_code == 0
    assert result.stderr.startswith("gradwatch: Nothing was watched: the script called no `fit` of a Keras 3 model.")
    assert "gradwatch.watch_train_step" in result.stderr


def test_findings_are_told_on_stderr(script):
    result = invoke(script(TRAIN), "x")
    assert result.exit_code == 0, result.output
    assert result.stdout == "trained ['x']\n"
    assert "model net: 4 records of 2 steps" in result.stderr
    assert "no findings" in result.stderr
    assert "--run-dir DIR" in result.stderr


@pytest.mark.filterwarnings("ignore::gradwatch.errors.GradientWarning")
def test_a_script_with_findings_keeps_its_own_status(script, tmp_path):
    result = invoke("--run-dir", tmp_path / "run", script(TRAIN), "nan", "five")
    assert result.exit_code == 5
    assert "GW205 NonFiniteInput" in result.stderr
    assert f"gradwatch report {tmp_path / 'run'}" in result.stderr
    assert gradwatch.load(tmp_path / "run").num_steps == 2
    assert "GRADWATCH_RUN_DIR" not in os.environ


def test_fail_fast(script, tmp_path):
    result = invoke("--fail-fast", script(TRAIN), "nan", GRADWATCH_RUN_DIR=str(tmp_path / "run"))
    assert result.exit_code == 3
    assert result.stdout == ""
    assert "Training was stopped at step 1: [GW205 NonFiniteInput]" in result.stderr
    assert "Traceback" not in result.stderr
    assert not gradwatch.diagnose(gradwatch.load(tmp_path / "run")).ok


def test_the_environment_says_the_same(script):
    assert invoke(script(TRAIN), "nan", GRADWATCH_FAIL_FAST="NonFiniteInput").exit_code == 3


def test_a_watch_of_the_script_is_given_the_same_defaults(script, tmp_path):
    own = "import gradwatch\n" + TRAIN.replace("fit(", "fit(callbacks=[gradwatch.GradientWatch()], x=").replace(
        "x=x, x[", "x=x, y=x["
    )
    result = invoke("--fail-fast", "--run-dir", tmp_path / "run", script(own), "nan")
    assert result.exit_code == 3, result.output
    assert "Every `fit` had a GradientWatch of its own." in result.stderr
    assert gradwatch.load(tmp_path / "run").info.model == "net"


def test_a_directory_that_holds_something_else(script, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").touch()
    result = invoke("--run-dir", tmp_path / "run", script(TRAIN))
    assert result.exit_code == 2
    assert "thesis.tex" in result.stderr
    assert result.stdout == ""


def test_wrong_usage(tmp_path):
    for args in ([], [tmp_path / "missing.py"], ["-m", "no_such_module_at_all"], ["--colour", "x.py"]):
        result = invoke(*args)
        assert result.exit_code == 2
        assert "Nothing was watched" not in result.stderr


def run(*args, **options):
    return subprocess.run([sys.executable, "-m", "gradwatch", "run", *args], capture_output=True, text=True, **options)


@pytest.mark.slow
def test_the_script_still_decides_how_tensorflow_behaves(script, tmp_path):
    before = """\
import os, sys
loaded = {"numpy", "tensorflow", "keras", "pyarrow", "pandas"} & set(sys.modules)
assert not loaded, loaded
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
"""
    done = run("--run-dir", "run", script(before + "import tensorflow as tf\n" + TRAIN), "five", cwd=tmp_path)
    assert done.returncode == 5, done.stderr
    assert done.stdout == "trained ['five']\n"
    assert "The log is in run." in done.stderr
    assert gradwatch.load(tmp_path / "run").num_steps == 2


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals are those of POSIX")
def test_signals_end_it_as_they_end_python(script):
    # `sleep` in Python is ended by a signal at once; the script says when it is there.
    path = script(
        "import atexit, time\natexit.register(print, 'at exit')\nprint('ready', flush=True)\ntime.sleep(60)\n"
    )
    for name, expected in ((signal.SIGINT, "at exit\n"), (signal.SIGTERM, "")):
        with subprocess.Popen(
            [sys.executable, "-m", "gradwatch", "run", path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout.readline() == "ready\n"
            process.send_signal(name)
            out, err = process.communicate(timeout=60)
        assert process.returncode == -name
        assert out == expected
        if name == signal.SIGINT:
            assert "\nKeyboardInterrupt\n" in err
            assert "runpy" not in err


def test_an_uncaught_exception_is_traced_to_the_script_only(script):
    path = script("def deep():\n    raise OSError('disk')\n\ndeep()\n")
    result = invoke(path)
    assert result.exit_code == 1
    trace = result.stderr.partition("gradwatch: ")[0].splitlines()
    assert [line for line in trace if line.startswith("  File")] == [
        f'  File "{path}", line 4, in <module>',
        f'  File "{path}", line 2, in deep',
    ]
    assert trace[-1] == "OSError: disk"
