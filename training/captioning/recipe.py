"""The captioning stages as values: a decoder learns on what a frozen audio encoder hears."""

from dataclasses import dataclass

from m2d_clap.model.captioner import CaptionerConfig
from m2d_clap.model.captions import USUAL, Decoding
from m2d_clap.model.config import ClapConfig


@dataclass(frozen=True)
class CaptionStage:
    """One recipe.

    parent: what it usually starts from; any checkpoint will do. width … max_tokens: the decoder's,
    see CaptionerConfig. base_rate: learning rate per 256 clips. patches: patch tokens that a clip
    shows at most in a step, others at every visit. label_smoothing: of the next word. hidden_words:
    share of the words before that the decoder does not see. mixed: share of clips mixed with
    another, whose caption then counts for its part. noise: deviation of what is added to the CLAP
    embedding, in its own. balance: clips whose caption n clips have are visited in proportion to
    n^-balance. polyak: decay of the averaged weights that are exported. how: decoding of the
    valid clips.
    """

    name: str
    parent: str
    epochs: int
    warm_up: int
    batch: int
    base_rate: float
    width: int
    depth: int
    heads: int
    patches: int
    mlp_ratio: float = 4.0
    max_tokens: int = 32
    label_smoothing: float = 0.1
    hidden_words: float = 0.1
    mixed: float = 0.3
    noise: float = 0.0
    balance: float = 0.0
    weight_decay: float = 0.05
    clip_norm: float = 1.0
    polyak: float = 0.995
    how: Decoding = USUAL

    @property
    def rate(self) -> float:
        """Peak learning rate."""
        return self.base_rate * self.batch / 256

    def sizes(self, parent: ClapConfig, vocabulary: int) -> CaptionerConfig:
        """The decoder over this encoder."""
        return CaptionerConfig(
            audio_width=parent.encoder.width,
            clap_dim=parent.clap_dim,
            vocabulary=vocabulary,
            width=self.width,
            depth=self.depth,
            heads=self.heads,
            mlp_ratio=self.mlp_ratio,
            max_tokens=self.max_tokens,
            patches=self.patches,
        ).validate()


# Of arXiv 2503.22104 only the score is known to us (AudioCaps, CIDEr 72.4); sizes and schedule are
# those usual for a decoder over a frozen encoder on AudioCaps: as BART-base's, 15 epochs, beam 4.
CAPTION = CaptionStage(
    name="caption",
    parent="2.1",
    epochs=15,
    warm_up=2,
    batch=64,
    base_rate=4e-4,
    width=768,
    depth=6,
    heads=12,
    patches=320,
    max_tokens=64,
    label_smoothing=0.2,
    polyak=0.999,
    how=Decoding("beam", width=4),
)
# For a few thousand clips with short captions on one core: minutes.
CAPTION_MINI = CaptionStage(
    name="caption-mini",
    parent="1-mini",
    epochs=14,
    warm_up=1,
    batch=128,
    base_rate=3e-3,
    width=384,
    depth=2,
    heads=6,
    patches=48,
    max_tokens=24,
    hidden_words=0.2,
    mixed=0.25,
    noise=0.3,
    polyak=0.99,
)

CAPTION_STAGES = {stage.name: stage for stage in (CAPTION, CAPTION_MINI)}
