"""May this build ship? Goals in a file, judged on data against the float model.

    report = dynq_numba.gate.check("gate.toml")
    report.verdict                           # "pass", "fail" or "inconclusive"

Needs the extra `gate`: ``pip install 'dynq-numba[gate]'``.
"""

from .check import check
from .config import Config, ConfigError, Goal, read_config
from .metrics import MetricError
from .outputs import junit, model_card
from .verdicts import GateReport, Result

__all__ = [
    "Config", "ConfigError", "GateReport", "Goal", "MetricError", "Result", "check", "junit", "model_card",
    "read_config",
]  # fmt: skip
