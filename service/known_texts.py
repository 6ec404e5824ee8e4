"""Texts that were embedded lately: who asks for one again waits for nobody."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence

import numpy as np

from m2d_clap.service.jobs import Vectors

_MOST, _LONGEST = 4096, 1000


class KnownTexts:
    """embed: the unit vectors (texts, dim) of texts; asked for at most `together` at a time, so
    that others get their turns. What was used longest ago is forgotten first; long texts, which fill
    the memory and are seldom asked for again, are not remembered."""

    def __init__(
        self,
        embed: Callable[[tuple[str, ...], bool], Awaitable[Vectors]],
        together: int,
        most: int = _MOST,
    ) -> None:
        self._embed = embed
        self._together = together
        self._most = most
        self._known: OrderedDict[str, Vectors] = OrderedDict()

    async def vectors(self, texts: Sequence[str]) -> Vectors:
        """(texts, dim) unit vectors. Raises what `embed` does; it is told whether the request was
        taken in already, as its first texts were embedded."""
        found = {text: self._known[text] for text in texts if text in self._known}
        new = [text for text in dict.fromkeys(texts) if text not in found]
        for at in range(0, len(new), self._together):
            turn = tuple(new[at : at + self._together])
            vectors = await self._embed(turn, at > 0)
            found.update((t, v.copy()) for t, v in zip(turn, vectors, strict=True))
        for text, vector in found.items():
            if len(text) <= _LONGEST:
                self._known[text] = vector
                self._known.move_to_end(text)
        while len(self._known) > self._most:
            self._known.popitem(last=False)
        return np.stack([found[text] for text in texts])
