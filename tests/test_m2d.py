"""Stage 1 computes what the reference computes: losses, gradients, the step, the schedules."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from m2d_clap.model.audio_encoder import AudioEncoder
from m2d_clap.model.clap import similarity
from m2d_clap.model.config import ClapConfig, EncoderConfig, ProjectorConfig
from m2d_clap.model.vit import sin_cos_positions
from m2d_clap.training.losses import clamp_logit_scale, contrastive_loss
from m2d_clap.training.m2d import M2d, M2dOutput, PredictorConfig
from m2d_clap.training.masking import Mask, kept, random_mask, take
from m2d_clap.training.mixing import mix_log_mels
from m2d_clap.training.optim import LearningRate, ema_decay, parameter_groups

GOLDEN = Path(__file__).parent / "golden" / "training"
RUNS = ["train_m2d", "train_m2d_clap", "train_m2d_clap_textproj"]


def arrays(name: str) -> dict[str, np.ndarray]:
    with np.load(GOLDEN / f"{name}.npz") as stored:
        return dict(stored)


class Golden(nn.Module):
    """The golden model with its caption side, and its published parameter names."""

    def __init__(self, run: str, recipe: Any) -> None:
        super().__init__()
        config = ClapConfig(
            encoder=EncoderConfig(frames=96, width=64, depth=2, heads=2),
            projector=ProjectorConfig("mlp", 64, 64) if "clap" in run else ProjectorConfig(),
        )
        self.m2d = M2d(AudioEncoder(config), PredictorConfig(32, 2, 2))
        if "clap" in run:
            self.logit_scale = nn.Parameter(torch.zeros(()))
        if "textproj" in run:
            self.text_proj = nn.Linear(96, 64)
        for name, tensor in self.named().items():
            if "pos_embed" not in name:  # sin-cos in these arrays
                tensor.data.copy_(recipe("T", name, list(tensor.shape)))

    def named(self) -> dict[str, nn.Parameter]:
        prefixes = ("m2d.online.backbone.", "m2d.online.", "m2d.predictor.", "m2d.")
        names = {}
        for name, parameter in self.named_parameters():
            prefix = next((p for p in prefixes if name.startswith(p)), "")
            names[name.removeprefix(prefix)] = parameter
        return names

    def losses(self, golden: dict[str, np.ndarray], run: str) -> dict[str, Tensor]:
        images = torch.from_numpy(golden["imgs_q8"].astype(np.float32) / 32)
        shuffle, restore = (torch.from_numpy(golden[k]) for k in ("ids_shuffle", "ids_restore"))
        output: M2dOutput = self.m2d(images, Mask(shuffle, restore, int(golden["len_keep"])))
        found = {"latent": output.latent, "pred": output.predicted, "target": output.target}
        found |= {"loss_m2d": output.loss, "loss_total": output.loss}
        if "clap" in run:
            text = torch.from_numpy(golden["text_embs"])
            text = self.text_proj(text) if "textproj" in run else text
            audio = self.m2d.online.audio_proj(output.latent[:, 1:])
            clip = contrastive_loss(audio, text, self.logit_scale.exp())
            weight = 1.0 if "textproj" in run else 0.01
            found |= {"audio_emb": audio, "loss_clip": clip}
            found["loss_total"] = output.loss + weight * clip
        return found


@pytest.mark.parametrize("run", RUNS)
def test_outputs_losses_and_gradients_equal_the_reference(run: str, golden_tensor: Any) -> None:
    golden, model = arrays(run), Golden(run, golden_tensor)
    found = model.losses(golden, run)
    compared = [name for name in found if name in golden]
    assert {"latent", "pred", "target", "loss_m2d"} <= set(compared) | {"loss_m2d"}
    for name in compared:
        assert np.abs(found[name].detach().numpy() - golden[name]).max() < 1e-5, name
    found["loss_total"].backward()
    gradients = {k.removeprefix("grad/"): g for k, g in golden.items() if k.startswith("grad/")}
    assert gradients
    for name, gradient in gradients.items():
        ours = model.named()[name].grad
        assert ours is not None, name
        assert np.abs(ours.numpy() - gradient).max() < 1e-5, name
    norm = torch.nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
    assert float(norm) == pytest.approx(float(golden["grad_norm_total"]), rel=1e-4)


@pytest.mark.parametrize("run", RUNS)
def test_the_references_other_losses_and_targets_follow_from_our_arrays(
    run: str, golden_tensor: Any
) -> None:
    golden, model = arrays(run), Golden(run, golden_tensor)
    found = model.losses(golden, run)
    predicted, target = found["pred"].detach(), found["target"].detach()
    spread = (target.var(dim=-1, keepdim=True) + 1e-6).sqrt()
    targets = {"False": target, "True": (target - target.mean(dim=-1, keepdim=True)) / spread}
    for kind, goal in targets.items():
        cosine = torch.nn.functional.cosine_similarity(predicted, goal, dim=-1)
        for name, ours in (
            ("norm_mse", (2 - 2 * cosine).mean()),
            ("mse", (predicted - goal).square().mean()),
        ):
            reference = float(golden[f"loss_m2d/{name}/norm_pix_{kind}"])
            assert float(ours) == pytest.approx(reference, abs=1e-5)
    images = torch.from_numpy(golden["imgs_q8"].astype(np.float32) / 32)
    masked = torch.from_numpy(golden["ids_shuffle"])[:, int(golden["len_keep"]) :]
    assert np.array_equal(np.sort(masked, axis=1), np.nonzero(golden["mask"])[1].reshape(4, -1))
    backbone = model.m2d.online.backbone
    hidden = backbone.with_class_token(take(backbone.patches(images), masked))
    layers = []
    for block in model.m2d.target_blocks:
        layers.append(hidden := block(hidden))
    averaged = model.m2d.target_norm((layers[0] + layers[-1]) / 2)[:, 1:]
    expected = golden["target/target_layers_first_last"]
    assert np.abs(averaged.detach().numpy() - expected).max() < 1e-5


def test_a_whole_training_step_equals_the_reference(golden_tensor: Any) -> None:
    golden, model = arrays("train_m2d_clap"), Golden("train_m2d_clap", golden_tensor)
    optimiser = torch.optim.AdamW(
        parameter_groups(model.named().items()), lr=1e-3, betas=(0.9, 0.95), eps=1e-8
    )
    model.losses(golden, "train_m2d_clap")["loss_total"].backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 3.0)
    optimiser.step()
    model.m2d.update_target(0.99)
    clamp_logit_scale(model.logit_scale)
    after = {k.removeprefix("after_step/"): v for k, v in golden.items() if "after_step/" in k}
    assert len(after) > 10
    off = 0
    for name, expected in after.items():
        difference = np.abs(model.named()[name].detach().numpy() - expected)
        if name.endswith("attn.qkv.bias"):  # the keys' third has no gradient, Adam makes it noise
            difference = np.delete(
                difference, np.s_[len(difference) // 3 : 2 * len(difference) // 3]
            )
        off += int((difference > 5e-5).sum())
    assert off <= 5  # isolated entries whose gradient is nearly zero


def test_the_target_follows_the_online_encoder(golden_tensor: Any) -> None:
    golden, model = arrays("train_m2d_clap"), Golden("train_m2d_clap", golden_tensor)
    model.m2d.update_target(0.99)
    expected = {k.removeprefix("ema_only/"): v for k, v in golden.items() if "ema_only/" in k}
    assert expected
    for name, value in expected.items():
        assert np.abs(model.named()[name].detach().numpy() - value).max() < 1e-6, name


def test_the_contrastive_loss_equals_the_reference() -> None:
    golden = arrays("clip_loss")
    for key in (k for k in golden if k.startswith("loss/")):
        _, size, scale = key.split("/")
        audio, text = (torch.from_numpy(golden[f"{side}/{size}"]) for side in "at")
        ours = contrastive_loss(audio, text, float(scale.removeprefix("scale_")))
        assert float(ours) == pytest.approx(float(golden[key]), abs=1e-5)
    for key in (k for k in golden if k.startswith("logits/")):
        audio, text = (torch.from_numpy(golden[f"{side}/{key.split('/')[1]}"]) for side in "at")
        assert np.abs(similarity(audio, text).numpy() - golden[key]).max() < 1e-6


def test_schedules_equal_the_reference() -> None:
    schedules = json.loads((GOLDEN / "schedules.json").read_text())
    for case in schedules["lr"]:
        rate = LearningRate(case["lr"], case["epochs"], case["warmup_epochs"], case["min_lr"])
        for epoch, expected, _ in case["points"]:
            assert rate.at(epoch) == pytest.approx(expected, rel=1e-9, abs=1e-18)
    for case in schedules["ema"]:
        for step, expected in case["points"]:
            ours = ema_decay(step, case["total_steps"], case["ema_decay_init"], case["ema_decay"])
            assert ours == pytest.approx(expected, abs=1e-12)
    for patches, ratio, expected in schedules["len_keep"]:
        assert kept(patches, ratio) == expected


def test_mixing_adds_powers() -> None:
    golden = arrays("log_mixup")
    a, b = torch.from_numpy(golden["xa"]), torch.from_numpy(golden["xb"])
    for key in (k for k in golden if k.startswith("out/")):
        ours = mix_log_mels(a, b, float(key.removeprefix("out/alpha_")))
        assert np.abs(ours.numpy() - golden[key]).max() < 1e-5


def test_positions_equal_the_reference() -> None:
    for key, table in arrays("pos_embed").items():
        rows, columns = (int(n) for n in key.split("_")[0].removeprefix("grid").split("x"))
        ours = sin_cos_positions(table.shape[1], rows, columns).numpy()
        ours = ours[:: 10 if key.endswith("every10") else 1]
        assert ours.shape == table.shape
        assert np.abs(ours - table).max() < 1e-6


def test_a_random_mask_hides_the_asked_share_and_depends_on_the_seed_alone() -> None:
    mask, again = (random_mask(4, 30, 0.7, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(mask.shuffle, again.shuffle)
    assert mask.visible.shape == (4, 9)
    assert mask.masked.shape == (4, 21)
    assert torch.equal(mask.shuffle.gather(1, mask.restore), torch.arange(30).expand(4, -1))
    assert not torch.equal(mask.shuffle[0], mask.shuffle[1])
