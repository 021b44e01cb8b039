import subprocess
import sys
import zipfile

import pytest

from gradwatch.errors import NonFiniteGradientError
from gradwatch.running import Program
from gradwatch.running.program import INTERRUPTED, STOPPED, UnusableRunDirError

SHOW = """\
import sys
print(__name__, __file__, sys.argv[1:], sys.path[0], sys.modules["__main__"].__dict__ is globals())
"""


@pytest.fixture
def script(tmp_path):
    def write(text, name="script.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return str(path)

    return write


def test_a_script_finds_what_python_gives_it(script, tmp_path, capsys):
    path = script(SHOW)
    assert Program(path, ("--lr", "1", "-h", "--", "-m")).run().status == 0
    here = capsys.readouterr().out
    done = subprocess.run([sys.executable, path, "--lr", "1", "-h", "--", "-m"], capture_output=True, text=True)
    assert here == done.stdout
    assert here == f"__main__ {path} ['--lr', '1', '-h', '--', '-m'] {tmp_path} True\n"


def test_a_module_finds_what_python_gives_it(script, tmp_path, capsys, monkeypatch):
    script("", "package/__init__.py")
    script(SHOW + "print(sys.argv[0], __spec__.name, __package__)", "package/train.py")
    monkeypatch.chdir(tmp_path)
    assert Program("package.train", ("x",), is_module=True).run().status == 0
    here = capsys.readouterr().out
    done = subprocess.run([sys.executable, "-m", "package.train", "x"], capture_output=True, text=True)
    assert here == done.stdout
    assert "package.train package" in here


def test_directories_and_zip_files_with_a_main(script, tmp_path, capsys):
    script("print('from a directory')", "directory/__main__.py")
    assert Program(str(tmp_path / "directory")).run().status == 0
    with zipfile.ZipFile(tmp_path / "job.zip", "w") as file:
        file.writestr("__main__.py", "print('from a zip file')")
    assert Program(str(tmp_path / "job.zip")).run().status == 0
    assert capsys.readouterr().out == "from a directory\nfrom a zip file\n"


def test_everything_is_as_before_afterwards(script):
    before = sys.argv, list(sys.path), sys.modules["__main__"]
    Program(script("import sys; sys.path.insert(0, 'x'); sys.argv = []"), ("y",)).run()
    assert (sys.argv, sys.path, sys.modules["__main__"]) == before


@pytest.mark.parametrize(
    ("code", "status", "message"),
    [("", 0, ""), ("None", 0, ""), ("7", 7, ""), ("-1", -1, ""), ("True", 1, ""), ("'bye'", 1, "bye")],
)
def test_its_exit_status_counts(script, code, status, message):
    ending = Program(script(f"import sys; sys.exit({code})")).run()
    assert (ending.status, ending.message) == (status, message)


def test_an_exception_is_shown_as_python_shows_it(script, capsys):
    path = script("def deep():\n    return {}['key']\n\n\ntry:\n    1 / 0\nexcept ZeroDivisionError:\n    deep()\n")
    assert Program(path).run().status == 1
    here = capsys.readouterr().err
    done = subprocess.run([sys.executable, path], capture_output=True, text=True)
    assert here == done.stderr
    assert "in deep" in here


def test_a_syntax_error_is_shown_as_python_shows_it(script, capsys):
    path = script("def broken(:\n")
    assert Program(path).run().status == 1
    assert capsys.readouterr().err == subprocess.run([sys.executable, path], capture_output=True, text=True).stderr


def test_its_own_excepthook_is_used(script, capsys):
    hook = "import sys\nsys.excepthook = lambda kind, error, trace: print('hook', kind.__name__, trace.tb_lineno)\n"
    before = sys.excepthook
    try:
        assert Program(script(hook + "raise ValueError")).run().status == 1
    finally:
        sys.excepthook = before
    assert capsys.readouterr().out == "hook ValueError 3\n"


def test_an_interrupt(script, capsys):
    ending = Program(script("raise KeyboardInterrupt")).run()
    assert (ending.status, ending.interrupted) == (INTERRUPTED, True)
    assert "gradwatch" not in capsys.readouterr().err


def test_a_gradient_error_is_told_and_not_traced(script, capsys):
    path = script("import gradwatch\nraise gradwatch.NonFiniteGradientError('NaN in dense.', step=7)")
    ending = Program(path).run()
    assert ending.status == STOPPED
    assert ending.message == "Training was stopped at step 7: NaN in dense."
    assert capsys.readouterr().err == ""


def test_a_gradient_error_that_the_script_catches_is_its_own_affair(script):
    name = NonFiniteGradientError.__name__
    path = script(
        f"import sys, gradwatch\ntry:\n    raise gradwatch.{name}('x')\nexcept RuntimeError:\n    sys.exit(9)"
    )
    assert Program(path).run().status == 9


def test_what_is_not_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for program, what in (
        (Program("nothing.py"), "script"),
        (Program("nothing", is_module=True), "module"),
        (Program("nothing.below", is_module=True), "module"),
    ):
        ending = program.run()
        assert (ending.status, ending.has_run) == (2, False)
        assert ending.message == f"There is no such {what}. Received: {program.target!r}."


def test_a_module_that_misses_another_one_is_there(script, tmp_path, capsys, monkeypatch):
    script("import something_that_is_missing", "present/__init__.py")
    script("", "present/train.py")
    monkeypatch.chdir(tmp_path)
    assert Program("present.train", is_module=True).run().status == 1
    assert "No module named 'something_that_is_missing'" in capsys.readouterr().err


def test_an_unusable_run_dir_passes_what_the_script_catches(script):
    path = script(
        "from gradwatch.running import UnusableRunDirError\n"
        "try:\n    raise UnusableRunDirError('no')\nexcept Exception:\n    pass\n"
    )
    assert issubclass(UnusableRunDirError, SystemExit)
    assert Program(path).run().status == 2


@pytest.mark.slow
def test_spawned_processes_find_the_script(script, tmp_path):
    text = """\
import multiprocessing

def work(number):
    return number * 2

if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.map(work, [1, 2]))
"""
    code = f"from gradwatch.running import Program; print(Program({script(text)!r}).run().status)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout == "[2, 4]\n0\n", done.stderr
