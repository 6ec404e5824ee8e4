"""Prometheus' own tool reads its settings and the alerts."""

import shutil
import subprocess
from pathlib import Path

import pytest

OBSERVE = Path(__file__).parent.parent.parent / "docker/observe"


def test_promtool_accepts_the_settings_and_every_alert() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (make test-container does it)")
    for arguments in (("config", "prometheus.yml"), ("rules", "alerts.yml")):
        done = subprocess.run(
            [promtool, "check", *arguments], cwd=OBSERVE, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
