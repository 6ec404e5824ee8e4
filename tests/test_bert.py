"""Our BERT is that of transformers, which it stands in for where it can."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from m2d_clap.model.bert import BertSizes, read_bert
from m2d_clap.model.errors import CheckpointError, TextEncoderError

SIZES = {
    "vocab_size": 50,
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "max_position_embeddings": 16,
    "layer_norm_eps": 1e-3,
}


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A random BERT, as transformers writes one."""
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    model = BertModel(BertConfig(**SIZES)).eval()
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    model.save_pretrained(tmp_path)
    return tmp_path


@torch.inference_mode()
def test_its_states_are_those_of_transformers(published: Path) -> None:
    from transformers import AutoModel

    theirs, ours = AutoModel.from_pretrained(published), read_bert(published)
    assert ours is not None
    ids = torch.randint(0, 50, (5, 16), generator=torch.Generator().manual_seed(1))
    for lengths in ([16] * 5, [1, 3, 7, 15, 16]):
        mask = (torch.arange(16) < torch.tensor(lengths)[:, None]).long()
        states = ours.eval()(ids, mask).last_hidden_state
        wanted = theirs(input_ids=ids, attention_mask=mask).last_hidden_state
        assert torch.allclose(states[mask.bool()], wanted[mask.bool()], atol=1e-5)


def test_weights_of_old_names_below_a_head_are_the_same_weights(published: Path) -> None:
    ours = read_bert(published)
    assert ours is not None
    file = published / "model.safetensors"
    names = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    old = {}
    for key, weight in load_file(file).items():
        for new, before in names.items():
            key = key.replace(new, before)
        old[f"bert.{key}"] = weight.half()
    save_file(old | {"cls.predictions.bias": torch.zeros(50)}, file)
    again = read_bert(published)
    assert again is not None
    for name, weight in ours.state_dict().items():
        assert torch.equal(weight.half().float(), again.state_dict()[name])


@pytest.mark.parametrize(
    "other",
    [{"model_type": "mpnet"}, {"hidden_act": "relu"}, {"position_embedding_type": "relative_key"}],
)
def test_another_model_is_left_to_transformers(published: Path, other: dict[str, str]) -> None:
    file = published / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | other))
    assert read_bert(published) is None


def test_what_is_damaged_is_named(published: Path) -> None:
    weights = published / "model.safetensors"
    save_file({k: w for k, w in load_file(weights).items() if "layer.2" not in k}, weights)
    with pytest.raises(TextEncoderError, match=r"model\.safetensors cannot be read"):
        read_bert(published)
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(TextEncoderError, match=r"model\.safetensors cannot be read"):
        read_bert(published)
    (published / "config.json").write_text("{")
    with pytest.raises(TextEncoderError, match=r"config\.json cannot be read"):
        read_bert(published)


def test_sizes_that_cannot_be_are_refused() -> None:
    with pytest.raises(CheckpointError, match="5 heads"):
        BertSizes.of(SIZES | {"num_attention_heads": 5})
    with pytest.raises(CheckpointError, match="hidden_act 'relu'"):
        BertSizes.of(SIZES | {"hidden_act": "relu"})


def test_minilm_is_read_without_waiting_for_transformers() -> None:
    script = (
        "import sys\nfrom m2d_clap.model.config import TextConfig\n"
        "from m2d_clap.model.text_encoder import load_text_encoder\n"
        "load_text_encoder(TextConfig('minilm')).embed(['rain'])\n"
        "print([m for m in ('transformers', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.splitlines()[-1] == "[]"
