import subprocess
import sys

import pytest

from gradwatch import sinks
from gradwatch.sinks import extras

SINKS = {
    "tensorboard": lambda: sinks.TensorBoardSink("runs"),
    "mlflow": sinks.MLflowSink,
    "wandb": sinks.WandbSink,
}


@pytest.mark.parametrize("package", SINKS)
def test_a_sink_without_its_package_names_the_extra(package, monkeypatch):
    for module in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)  # as where it is not installed
    with pytest.raises(ImportError, match=rf"needs '{package}'.*pip install 'gradwatch\[{package}\]'"):
        SINKS[package]()


@pytest.mark.parametrize("package", SINKS)
def test_bad_options_are_refused_when_it_is_made(package):
    kinds = {"tensorboard": lambda **options: sinks.TensorBoardSink("runs", **options)}
    kinds |= {"mlflow": sinks.MLflowSink, "wandb": sinks.WandbSink}
    with pytest.raises(ValueError, match="variables='ten'"):
        kinds[package](variables="ten")
    with pytest.raises(ValueError, match="every_steps=0"):
        kinds[package](every_steps=0)


def test_importing_the_sinks_loads_none_of_the_packages():
    code = """
import sys, gradwatch
assert gradwatch.sinks.MLflowSink and gradwatch.sinks.TensorBoardSink and gradwatch.sinks.WandbSink
assert not {"tensorflow", "keras", "tensorboard", "mlflow", "wandb"} & set(sys.modules), "loaded"
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_is_there_is_loaded():
    assert extras.load("json.decoder", "mlflow").JSONDecoder
