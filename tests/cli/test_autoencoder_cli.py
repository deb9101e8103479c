"""The commands of the autoencoders on small files: what they write, and one clear line for what does not fit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from bumps import items
from conftest import natural_picture
from PIL import Image

from aecodec import checkpoint
from aecodec.cli import run
from aecodec.data.speech import RATE, write_wav


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small checkpoints, a labelled array, pictures and a recording."""
    folder = tmp_path_factory.mktemp("place")
    torch.manual_seed(0)
    models = {
        "restorer": (
            "restoration",
            {"corruptions": ("gaussian", "region", "downsample", "grey"), "widths": (8, 8), "blocks": 1},
        ),
        "speech": ("restoration", {"planes": 1, "corruptions": ("paired",), "widths": (8, 8), "blocks": 1}),
        "vae": ("vae", {"shape": (1, 8, 8), "latents": 2, "hidden": (16,)}),
        "plain": ("autoencoder", {"shape": (1, 16, 16), "latents": 4, "hidden": (16,)}),
        "gradients": ("autoencoder", {"shape": (8, 8, 8), "latents": 4, "hidden": (16,)}),
    }
    for name, (family, config) in models.items():
        model = checkpoint.build(family, config)
        checkpoint.save(model.eval(), folder / f"{name}.safetensors", name=name, family_name=family, card={})
    x = (items(80)[:, 0] * 255).round().byte().numpy()
    y = np.arange(80) % 4
    np.savez(folder / "d.npz", x_train=x[:60], y_train=y[:60], x_test=x[60:], y_test=y[60:])
    np.savez(folder / "odd.npz", x_train=x[:60], y_train=y[:60], x_test=x[60:], y_test=y[60:] + 1)
    (folder / "pictures").mkdir()
    for number in range(4):
        Image.fromarray(natural_picture(40, 56, number)).save(folder / "pictures" / f"p{number}.png")
    Image.fromarray(natural_picture(40, 56)[..., 0]).save(folder / "grey.png")
    rng = np.random.default_rng(0)
    write_wav(rng.normal(0, 0.1, RATE // 2), folder / "noisy.wav", overwrite=False)
    return folder


@pytest.mark.parametrize(
    ("arguments", "size"),
    [
        (["--task", "denoise", "--sigma", "10"], (56, 40)),
        (["--task", "denoise"], (56, 40)),
        (["--task", "upscale"], (112, 80)),
        (["--task", "colourise"], (56, 40)),
        (["--task", "inpaint", "--box", "5,5,10,10"], (56, 40)),
    ],
)
def test_pictures_are_restored(place, tmp_path, arguments, size):
    out = tmp_path / "out.png"
    command = ["restore", f"{place}/pictures/p0.png", str(out), "-m", f"{place}/restorer.safetensors", *arguments]
    assert run(command) == 0
    assert Image.open(out).size == size
    assert run(command) == 5, "nothing is overwritten unasked"
    assert run([*command, "--force"]) == 0


def test_a_recording_is_restored(place, tmp_path):
    speech = ["-m", f"{place}/speech.safetensors", "--task", "denoise"]
    assert run(["restore", f"{place}/noisy.wav", str(tmp_path / "clean.wav"), *speech]) == 0
    assert (tmp_path / "clean.wav").stat().st_size == (place / "noisy.wav").stat().st_size


def test_grids_are_drawn(place, tmp_path):
    vae = f"{place}/vae.safetensors"
    for kind in (["--kind", "samples"], ["--kind", "manifold"], ["--kind", "ways", "--data", f"{place}/d.npz"]):
        assert run(["sample", vae, "-n", "16", "-o", str(tmp_path / "grid.png"), "--force", *kind]) == 0
        assert Image.open(tmp_path / "grid.png").size[0] > 30


@pytest.mark.parametrize("model", ["plain", "gradients"])
def test_a_detector_is_fitted_and_used(place, tmp_path, capsys, model):
    path, detector = f"{place}/{model}.safetensors", str(tmp_path / "detector.json")
    assert run(["anomaly", "fit", path, f"{place}/pictures", "-o", detector, "--false-alarms", "0.5"]) == 0
    labels = tmp_path / "labels.csv"
    labels.write_text("p0.png,normal\np1.png,anomalous\np2.png,normal\n")
    capsys.readouterr()
    command = ["anomaly", "score", detector, f"{place}/pictures", "-m", path, "--labels", str(labels)]
    assert run([*command, "--heat-maps", str(tmp_path / "heat")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:4]].count("anomalous") == 2
    assert lines[4].startswith("AUROC")
    assert len(list((tmp_path / "heat").iterdir())) == 4
    assert run([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[0])["threshold"] > 0


def test_a_probe_prints_an_error(place, capsys):
    vae = f"{place}/vae.safetensors"
    assert run(["probe", vae, f"{place}/d.npz"]) == 0
    assert run(["probe", vae, f"{place}/d.npz:x_train", "--labels", "20", "--seeds", "2"]) == 0
    assert run(["probe", vae, f"{place}/d.npz", "--labels", "20", "--fine-tune"]) == 0
    assert capsys.readouterr().out.count("error ") == 3


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        ("restore {p}/pictures/p0.png {o} --task rain", "no task 'rain'"),
        ("restore {p}/pictures/p0.png {o} --task denoise -m {p}/vae.safetensors", "of no use for restoration"),
        ("restore {p}/pictures/p0.png {o} --task denoise -m {p}/speech.safetensors", "undoes no 'gaussian'"),
        ("restore {p}/pictures/p0.png {o} --task inpaint -m {p}/restorer.safetensors", "--mask or --box"),
        ("restore {p}/pictures/p0.png {o} --task denoise --box 1,1,2,2", "--mask or --box"),
        ("restore {p}/pictures/p0.png {o} --task inpaint --box 1,1,2 -m {p}/restorer.safetensors", "LEFT,TOP"),
        ("restore {p}/pictures/p0.png {o} --task inpaint --mask {p}/mask.png", "no such file"),
        ("restore {p}/pictures/p0.png {o} --task despeckle -m {p}/restorer.safetensors", "undoes no 'impulse'"),
        ("restore {p}/noisy.wav {o} --task upscale -m {p}/speech.safetensors", "denoised only"),
        ("restore {p}/noisy.wav {o} --task denoise -m {p}/restorer.safetensors", "trained on speech"),
        ("sample {p}/plain.safetensors -o {o}", "of no use for sampling"),
        ("sample {p}/vae.safetensors -o {o} --kind ways", "needs --data"),
        ("anomaly fit {p}/restorer.safetensors {p}/pictures -o {o}", "of no use for anomaly"),
        ("anomaly fit {p}/plain.safetensors {p}/d.npz -o {o}", "items of shape (1, 16, 16)"),
        ("anomaly fit {p}/plain.safetensors {p}/pictures -o {o} --score surprise", "variational"),
        ("anomaly score {p}/missing.json {p}/grey.png", "no such detector"),
        ("anomaly score {p}/d.npz {p}/grey.png", "not a detector"),
        ("probe {p}/vae.safetensors {p}/odd.npz", "unknown classes in the test labels: 4"),
        ("probe {p}/vae.safetensors {p}/d.npz:x_wrong", "name one as"),
        ("probe {p}/plain.safetensors {p}/d.npz", "items of shape (1, 16, 16)"),
        ("probe {p}/vae.safetensors {p}/d.npz --fine-tune", "--labels"),
    ],
)
def test_what_does_not_fit_is_one_clear_line(place, tmp_path, capsys, command, complaint):
    if "mask.png" in command:
        command += " -m {p}/restorer.safetensors"
    out = tmp_path / "out.png"
    assert run(command.format(p=place, o=out).split()) not in (0, 130)
    message = capsys.readouterr().err
    assert complaint in message
    assert message.count("\n") == 1
    assert not out.exists()


def test_a_label_file_of_other_classes_is_refused(place, tmp_path, capsys):
    plain, detector = f"{place}/plain.safetensors", str(tmp_path / "detector.json")
    assert run(["anomaly", "fit", plain, f"{place}/pictures", "-o", detector]) == 0
    (tmp_path / "labels.csv").write_text("p0.png,odd\n")
    command = ["anomaly", "score", detector, f"{place}/pictures", "-m", plain, "--labels", str(tmp_path / "labels.csv")]
    assert run(command) == 2
    assert "FILE,normal" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("family", "data", "settings"),
    [
        ("vae", "d.npz", ["model.hidden=[8]", "only=3"]),
        ("autoencoder", "pictures", ["view=gradients", "crop=64"]),
        ("linear", "d.npz", []),
        ("restoration", "pictures", ["size=tiny", "crop=64", "downscale=1"]),
    ],
)
def test_families_train_from_the_command_line(place, tmp_path, family, data, settings):
    if family == "restoration":
        (tmp_path / "pictures").mkdir()
        Image.fromarray(natural_picture(200, 200)).save(tmp_path / "pictures" / "large.png")
        source = tmp_path / data
    else:
        source = place / data
    quick = ["steps=3", "batch=4", "hold_out=1", "late_crop=null", *settings]
    flags = [part for setting in quick for part in ("--set", setting)]
    assert run(["train", family, "--data", str(source), "--out", str(tmp_path / "run"), *flags]) == 0
    assert checkpoint.load(tmp_path / "run" / "model.safetensors").family == family


@pytest.mark.parametrize(("settings", "complaint"), [(["only=9"], "no item of class 9"), (["view=sideways"], "view")])
def test_a_class_or_view_that_is_not_there_is_said(place, tmp_path, capsys, settings, complaint):
    flags = [part for setting in settings for part in ("--set", setting)]
    assert run(["train", "vae", "--data", f"{place}/d.npz", "--out", str(tmp_path / "run"), *flags]) != 0
    assert complaint in capsys.readouterr().err
