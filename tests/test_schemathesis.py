"""The OpenAPI document is the truth: generated requests, right and wrong, are answered as it says.

The whole of it is `make test-api`; here only a few cases are drawn.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

WHOLE = os.environ.get("M2D_TEST_API") == "whole"
CASES, EXAMPLES = (2000, 250) if WHOLE else (100, 8)
PHASES = "examples,coverage,fuzzing,stateful" if WHOLE else "examples,fuzzing,stateful"


def test_generated_requests_are_answered_as_the_document_says(served: str, tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("schemathesis")
    configuration = Path(__file__).with_name("schemathesis.toml")
    command = [script, "--config-file", configuration, "run", f"{served}/openapi.json"]
    command += ["--checks", "all", "--phases", PHASES, "--max-examples", str(EXAMPLES)]
    if not WHOLE:  # the whole draws anew each time; this few shall not fail some day by chance
        command += ["--seed", "0"]
    command += ["--continue-on-failure", "--no-color", "--request-timeout", "60"]
    ended = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=1800, check=False
    )
    assert ended.returncode == 0, ended.stdout[-8000:] + ended.stderr[-2000:]
    generated = re.search(r"(\d+) generated", ended.stdout)
    assert generated is not None and int(generated[1]) >= CASES, ended.stdout
    print(ended.stdout)
