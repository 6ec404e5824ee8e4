"""SPICE, SPIDEr and FENSE, by aac-metrics where it is installed.

They need Java or models of their own, which this project does not bring: `pip install aac-metrics`
and `aac-metrics-download`.
"""

import contextlib
from collections.abc import Sequence
from importlib import import_module

METRICS = ("spice", "spider", "fense")


def more_scores(said: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
    """By name, only those whose tools work here; nothing without aac-metrics."""
    try:
        evaluate = import_module("aac_metrics").evaluate
    except (ImportError, OSError, RuntimeError, AttributeError):  # torchaudio may not load
        return {}
    found: dict[str, float] = {}
    for name in METRICS:
        with contextlib.suppress(Exception):  # no Java, no model: anything; the others may work
            of_corpus, _ = evaluate(list(said), [list(r) for r in references], metrics=[name])
            found[name.upper()] = float(of_corpus[name])
    return found
