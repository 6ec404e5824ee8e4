"""What the encoding process makes of sounds for captions."""

from collections import defaultdict
from collections.abc import Sequence

from m2d_clap.model import Clap
from m2d_clap.model.captioning import Captioner
from m2d_clap.model.captions import Captioned, Decoding
from m2d_clap.model.errors import NoCaptionerError
from m2d_clap.service.jobs import CaptionJob
from m2d_clap.service.stages import Stages


def encode_captions(
    captioner: Captioner | None,
    clap: Clap,
    jobs: Sequence[CaptionJob],
    stages: Stages | None = None,
) -> list[Captioned]:
    """Those decoded alike together; each comes out as it would alone. Raises NoCaptionerError."""
    if captioner is None:
        raise NoCaptionerError("the checkpoint has no captioner")
    alike: dict[Decoding, list[int]] = defaultdict(list)
    for number, job in enumerate(jobs):
        alike[job.how].append(number)
    found: dict[int, Captioned] = {}
    with (stages or Stages()).measured("caption"):
        for how, numbers in alike.items():
            sounds = [jobs[number].sound for number in numbers]
            found.update(zip(numbers, captioner.listen(clap, sounds, how), strict=True))
    return [found[number] for number in range(len(jobs))]
