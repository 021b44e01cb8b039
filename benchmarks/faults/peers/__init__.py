"""Published rule sets, each in a module of its own, and what they judge by; see README.md of the benchmark."""

from benchmarks.faults.peers import autotrainer, deepdiagnosis, deeplocalize, sagemaker, thedeepchecker, umlaut
from benchmarks.faults.peers.evidence import Judge

PEERS: dict[str, Judge] = {
    "AUTOTRAINER": autotrainer.judge,
    "SageMaker Debugger": sagemaker.judge,
    "DeepDiagnosis": deepdiagnosis.judge,
    "TheDeepChecker": thedeepchecker.judge,
    "DeepLocalize": deeplocalize.judge,
    "UMLAUT": umlaut.judge,
}
"""The rule sets by the names of their tools."""
