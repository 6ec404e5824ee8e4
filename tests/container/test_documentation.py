"""The commands of docker/README.md, one by one, as they are written there."""

import re
import time
from typing import Any


def test_every_command_of_the_documentation_works_as_written(
    docker: Any, documented: list[Any]
) -> None:
    docker("rm", "--force", "m2d-clap")  # what an earlier, failed run may have left
    docker("volume", "rm", "--force", "m2d-clap-index")
    for block in documented:
        where = f"docker/README.md:{block.line}"
        if block.not_run is not None:
            print(f"{where}  not run: {block.not_run}")
            continue
        if "docker/collect-wheels" in block.script:
            continue  # by the fixture, for all tests
        # Asked from outside; what `docker exec` asks inside the container stays.
        outside = r"(?m)^(?!docker exec)(.*127\.0\.0\.1:)8000"
        script = re.sub(outside, rf"\g<1>{docker.port}", block.script)
        start = time.monotonic()
        said = docker.script(["bash", "-euo", "pipefail", "-c", script])
        assert said.status == 0, f"{where}\n{block.script}\n{said.text[-4000:]}"
        if block.answers is not None:
            found = re.search(block.answers, said.text, re.DOTALL)
            assert found, f"{where}: no {block.answers!r} in\n{said.text[-4000:]}"
        print(f"{where}  {time.monotonic() - start:.1f} s")
