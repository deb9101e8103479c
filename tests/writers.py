"""A process of its own that writes the same files over and over, to be killed while it does.

Reads lines from standard input. "JOB SECONDS": a fork does the job again and again until it is killed after so many
seconds. "JOB limit BYTES": a fork does it once where no file can grow beyond so many bytes, and its error goes to
error.txt. Imports are done once, before.
"""

import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from places import GOLDEN

from aecodec import checkpoint
from aecodec.cli import run
from aecodec.codec import files as transcode
from aecodec.codec.codec import Codec
from aecodec.contracts import OutputError
from aecodec.index.hash_index import HashIndex

TRAIN = ["train", "exact-hyperprior", "--data", "photos", "--out", "run", "--resume", "auto"]
TRAIN += [
    part
    for setting in (
        "steps=200",
        "crop=64",
        "batch=2",
        "hold_out=1",
        "save_every=1",
        "log_every=1",
        "evaluate_every=100",
        "model.channels=8",
        "model.latents=16",
        "model.features=8",
        "model.hyper_latents=4",
        "model.scale_hidden=8",
        "model.analysis_blocks=1",
        "model.synthesis_blocks=1",
        "calibration=0",
        "threads=1",
    )
    for part in ("--set", setting)
]


class Writers:
    """The jobs. Each writes version 0 and version 1 of its file in turn."""

    def __init__(self, folder: Path) -> None:
        torch.set_num_threads(1)
        os.chdir(folder)
        self.codec = Codec.from_pretrained(GOLDEN / "v1" / "exact-hyperprior.safetensors", precision="float32")
        self.models = [checkpoint.load(GOLDEN / "v1" / f"{name}.safetensors") for name in ("exact-hyperprior",) * 2]
        torch.nn.init.zeros_(self.models[1].module.analysis.leave.weight)
        rng = np.random.default_rng(0)
        self.pictures = [rng.integers(0, 256, (64, 96, 3), np.uint8) for _ in range(2)]
        for number, pixels in enumerate(self.pictures):
            Image.fromarray(pixels).save(f"in{number}.png")
            self.compress(number, Path(f"in{number}.aec"))
        Path("photos").mkdir()
        for number in range(3):
            Image.fromarray(rng.integers(0, 256, (80, 80, 3), np.uint8)).save(f"photos/{number}.png")
        self.codes = rng.integers(0, 256, (2, 5000, 8), np.uint8)

    def compress(self, version: int, path: Path) -> None:
        transcode.compress(f"in{version}.png", path, codec=self.codec, overwrite=True)

    def decompress(self, version: int, path: Path) -> None:
        transcode.decompress(f"in{version}.aec", path, codec=self.codec, overwrite=True)

    def checkpoint(self, version: int, path: Path) -> None:
        model = self.models[version]
        checkpoint.save(model.module, path, name="golden", family_name=model.family, card={})

    def index(self, version: int, path: Path) -> None:
        index = HashIndex(hasher="golden", fingerprint=bytes(8), n_bits=64)
        index.add(np.arange(5000), self.codes[version])
        index.save(path, overwrite=True)

    def bitmap(self, version: int, path: Path) -> None:
        self.decompress(version, path)

    def train(self, version: int, path: Path) -> None:
        code = run(TRAIN)
        if code:
            os._exit(code)

    def jobs(self) -> dict[str, tuple[Callable[[int, Path], None], Path]]:
        return {
            "compress": (self.compress, Path("out.aec")),
            "decompress": (self.decompress, Path("out.png")),
            "checkpoint": (self.checkpoint, Path("out.safetensors")),
            "bitmap": (self.bitmap, Path("out.bmp")),
            "index": (self.index, Path("out.hix")),
            "train": (self.train, Path("run/state.pt")),
        }

    def for_ever(self, job: str) -> None:
        write, path = self.jobs()[job]
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        for number in range(10**9):
            write(number % 2, path)

    def on_a_full_disk(self, job: str, limit: int) -> None:
        with open("error.txt", "w") as errors:
            os.dup2(errors.fileno(), 2)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        write, path = self.jobs()[job]
        try:
            write(1, path)
        except OutputError as error:
            os.write(2, f"aecodec: error: {error}".encode()[:limit])
            os._exit(1)
        os._exit(0)


def main() -> None:
    writers = Writers(Path(sys.argv[1]))
    for write, path in list(writers.jobs().values())[:-1]:
        for version in (0, 1):
            write(version, path.with_name(f"version{version}{path.suffix}"))
    print("ready", flush=True)
    for line in sys.stdin:
        job, *how = line.split()
        child = os.fork()
        if child == 0 and how[0] == "limit":
            writers.on_a_full_disk(job, int(how[1]))
        if child == 0:
            writers.for_ever(job)
        if how[0] != "limit":
            time.sleep(float(how[0]))
            os.kill(child, signal.SIGKILL)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
