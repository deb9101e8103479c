"""Laws of the trunk: published weights with their norms give the same as those folded, frozen stages stay."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from published_trunk import published

from aecodec.contracts import CheckpointError
from aecodec.nn.trunk import STAGES, Trunk

BLOCKS = (1, 2, 2)


def by_the_book(x: torch.Tensor, weights: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    """What every stage gives, with convolutions and norms one after another."""

    def step(x, name, norm, stride=1, groups=1, act=True):
        weight = weights[f"{name}.weight"]
        x = F.conv2d(x, weight, stride=stride, padding=weight.shape[2] // 2, groups=groups)
        parts = (weights[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        x = F.batch_norm(x, *parts, eps=1e-3)
        return x.clamp(0, 6) if act else x

    x = step((255 * x - 127) / 128, "_conv_stem", "_bn0", 2)
    found, number = [], 0
    for _, stride, expansion, _, count in STAGES[: len(BLOCKS)]:
        for place in range(count):
            block, before = f"_blocks.{number}", x
            if expansion > 1:
                x = step(x, f"{block}._expand_conv", f"{block}._bn0")
            x = step(x, f"{block}._depthwise_conv", f"{block}._bn1", 1 if place else stride, x.shape[1])
            x = step(x, f"{block}._project_conv", f"{block}._bn2", act=False)
            x, number = x + before if place else x, number + 1
        found.append(x)
    return found


def test_folded_weights_give_what_the_published_ones_give(tmp_path):
    torch.save(published(BLOCKS), tmp_path / "weights.pth")
    trunk = Trunk(BLOCKS).eval()
    trunk.load_published(tmp_path / "weights.pth")
    x = torch.rand(2, 3, 64, 48, generator=torch.Generator().manual_seed(1))
    before, last = by_the_book(x, published(BLOCKS))[-2:]
    wanted = torch.cat([F.adaptive_avg_pool2d(stage, 2).flatten(1) for stage in (before, last)], 1)
    found = trunk(x)
    assert found.shape == (2, trunk.width)
    assert torch.allclose(found, wanted, rtol=1e-3, atol=1e-3 * float(wanted.abs().max()))


def test_odd_maps_are_pooled_into_windows_that_share_their_middle(tmp_path):
    trunk = Trunk(BLOCKS).eval()
    for side in (33, 47, 48):
        assert trunk(torch.rand(1, 3, side, side)).shape == (1, trunk.width)


def test_frozen_stages_are_not_trained_and_the_others_are():
    trunk = Trunk(BLOCKS, frozen=2)
    assert {name.split(".")[1] for name, p in trunk.named_parameters() if p.requires_grad} == {"2"}
    trunk(torch.rand(1, 3, 32, 32)).sum().backward()
    assert all((p.grad is not None) == p.requires_grad for p in trunk.parameters())


def test_gradients_in_bfloat16_are_those_in_float32_within_its_rounding():
    torch.manual_seed(0)
    trunk = Trunk(BLOCKS)
    x = torch.rand(2, 3, 32, 32)
    trunk(x).square().sum().backward()
    wanted = [p.grad.clone() for p in trunk.parameters()]
    trunk.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        loss = trunk(x).float().square().sum()
    loss.backward()
    for parameter, grad in zip(trunk.parameters(), wanted, strict=True):
        assert (parameter.grad - grad).norm() <= 0.1 * grad.norm() + 1e-6


def test_weights_that_are_no_trunks_are_refused(tmp_path):
    (tmp_path / "noise.pth").write_bytes(b"noise")
    with pytest.raises(CheckpointError):
        Trunk(BLOCKS).load_published(tmp_path / "noise.pth")
    weights = published(BLOCKS)
    weights["_conv_stem.weight"] = weights["_conv_stem.weight"][:8]
    torch.save(weights, tmp_path / "other.pth")
    with pytest.raises(RuntimeError):
        Trunk(BLOCKS).load_published(tmp_path / "other.pth")
    torch.save({}, tmp_path / "empty.pth")
    with pytest.raises(KeyError):
        Trunk(BLOCKS).load_published(tmp_path / "empty.pth")
