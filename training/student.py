"""How our own text encoder begins: as a bag of words that means what its teacher says of each."""

from pathlib import Path

import torch
from torch import Tensor, nn

from m2d_clap.model.config import TextConfig
from m2d_clap.model.text_encoder import find_tokenizer, load_text_encoder
from m2d_clap.model.text_transformer import TextTransformer
from m2d_clap.training.lessons import Lessons


def student_weights(
    config: TextConfig, teacher: TextConfig, lessons: Lessons, path: Path | None = None
) -> dict[str, Tensor]:
    """All weights of the encoder that are not random at the start.

    Tokens that are lessons by themselves start from the teacher's sentence embedding of them, the
    others (pieces of words, paraphrases kept back) from a linear guess out of the teacher's token
    embedding; both as principal components. Blocks and positions add nothing yet.
    Raises TextEncoderError where the teacher is not there.
    """
    read = load_text_encoder(teacher, path).model.get_input_embeddings()  # type: ignore[operator]
    assert isinstance(read, nn.Embedding)
    words = find_tokenizer(config, path).words
    meanings = word_meanings(read.weight.detach(), words, lessons)
    weights = {"words.weight": principal(meanings, config.architecture["embedding_size"])}
    for name, weight in TextTransformer(config.architecture).state_dict().items():
        if name.endswith((".attn.proj.weight", ".mlp.fc2.weight", "positions.weight")):
            weights[name] = torch.zeros_like(weight)
    return weights


def word_meanings(embeddings: Tensor, words: dict[str, int], lessons: Lessons) -> Tensor:
    """(tokens, width): what the teacher says of each token of `words`, guessed where it is no
    lesson. embeddings: the teacher's own (tokens, token width), in the same order."""
    taught = [(words[text], i) for i, text in enumerate(lessons.texts) if text in words]
    rows = torch.tensor([row for row, _ in taught])
    said = lessons.targets[[i for _, i in taught]].double()
    mean = said.mean(dim=0)
    read = (embeddings - embeddings.mean(dim=0)).double()
    known = read[rows]
    ridge = 0.01 * known.square().sum() / known.shape[1] * torch.eye(len(known.T)).double()
    guess = torch.linalg.solve(known.T @ known + ridge, known.T @ (said - mean))
    meanings: Tensor = read @ guess
    meanings[rows] = said - mean
    return meanings.float()


def principal(rows: Tensor, size: int) -> Tensor:
    """(rows, width) → (rows, size): their principal components, together of deviation 1."""
    centred = (rows - rows.mean(dim=0)).double()
    _, axes = torch.linalg.eigh(centred.T @ centred)
    components: Tensor = centred @ axes.flip(1)[:, :size]
    return (components / components.std().clamp_min(1e-12)).float()
