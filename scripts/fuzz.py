"""Fuzz the reading of .aec files: seeds are mutated, checksums sometimes repaired, and every outcome is held to a law.

The law: within two seconds of processor time, parsing and decoding end in a picture of the declared size or in an
AecodecError, and what is recovered from a damaged file (unless its checksums were forged) is what stood in it.

    python scripts/fuzz.py --examples 100000              # seeded random mutations
    python scripts/fuzz.py --engine hypothesis            # the same choices, made and shrunk by Hypothesis
"""

from __future__ import annotations

import random
import struct
import time
import zlib
from collections import Counter
from pathlib import Path

import click

from aecodec.codec.codec import Codec
from aecodec.coding import container
from aecodec.coding.chunks import CRC, HEAD, MIN_CHUNK
from aecodec.contracts import AecodecError

ROOT = Path(__file__).parents[1]
SEEDS = {path.stem: path.read_bytes() for path in sorted((ROOT / "scripts" / "fuzz_seeds").glob("*.aec"))}
MODEL = ROOT / "tests" / "golden" / "v1" / "exact-hyperprior.safetensors"
SECONDS = 2.0
#: Larger pictures than this are parsed and not decoded.
PIXELS = 200_000
INTERESTING = (0, 1, 8, 14, 255, 256, 1 << 14, 1 << 20, (1 << 31) - 1, 1 << 31, (1 << 32) - 1)


def header_length(data: bytes) -> int:
    """Where the header's checksum ends, by its own account."""
    return 27 + (data[26] if len(data) > 26 else 0) + CRC.size


def repair(data: bytes) -> bytes:
    """The same bytes with the checksums of the header, and of the chunks as far as their lengths lead, made right."""
    fixed, place, tile = bytearray(data), header_length(data), 0
    if place > len(data):
        return data
    CRC.pack_into(fixed, place - CRC.size, zlib.crc32(fixed[: place - CRC.size]))
    binding = fixed[place - CRC.size : place]
    while place + MIN_CHUNK <= len(fixed):
        kind, length = HEAD.unpack_from(fixed, place)
        end = place + HEAD.size + length
        if end + CRC.size > len(fixed):
            break
        number = tile if kind == container.TILE else 0
        CRC.pack_into(fixed, end, zlib.crc32(bytes(binding) + struct.pack("<I", number) + fixed[place:end]))
        tile += kind == container.TILE
        place = end + CRC.size
    return bytes(fixed)


def mutate(rng: random.Random, seed: bytes) -> tuple[bytes, bool]:
    """One to four changes -> (bytes, whether the checksums were repaired)."""
    data = bytearray(seed)
    for _ in range(rng.randint(1, 4)):
        if not data:
            break
        # Half of the changes hit the first bytes, where the structure is.
        place = rng.randrange(min(len(data), 120) if rng.random() < 0.5 else len(data))
        kind = rng.randrange(9)
        if kind == 0:
            data[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[place] = rng.randrange(256)
        elif kind == 2:
            del data[place : place + rng.choice((1, 2, 4, 9, 64, 512))]
        elif kind == 3:
            data[place:place] = rng.randbytes(rng.choice((1, 2, 4, 9, 64)))
        elif kind == 4:
            del data[place:]
        elif kind == 5:
            data[place : place + 4] = struct.pack("<I", rng.choice(INTERESTING))
        elif kind == 6:
            length = rng.choice((4, 9, 64, 512))
            data[place : place + length] = bytes(length)
        elif kind == 7:
            other = SEEDS[rng.choice(sorted(SEEDS))]
            data[place:] = other[rng.randrange(len(other)) :]
        else:
            other = rng.randrange(len(data))
            data[place : place + 64] = data[other : other + 64]
    repaired = rng.random() < 0.3
    return (repair(bytes(data)), True) if repaired else (bytes(data), False)


class Law:
    """Checks outcomes; counts them in ``outcomes``. decode_share: how many of the files that parse are decoded."""

    def __init__(self, decode_share: float = 1.0) -> None:
        self.codec = Codec.from_pretrained(MODEL, precision="float32")
        self.outcomes: Counter[str] = Counter()
        self.slowest = 0.0
        self._share = decode_share
        self._originals = [container.parse(seed) for seed in SEEDS.values()]

    def check(self, data: bytes, repaired: bool = False) -> None:
        """Raises AssertionError where the law is broken; any other exception is a finding as well."""
        begin = time.process_time()
        for partial in (False, True):
            try:
                parsed = container.parse(data, partial=partial)
            except AecodecError as error:
                self.outcomes[type(error).__name__] += 1
                continue
            self.outcomes["partial" if partial else "whole"] += 1
            if not repaired:
                self._is_original(parsed)
            if random.Random(len(data)).random() < self._share:
                self._decode(parsed)
        self.slowest = max(self.slowest, time.process_time() - begin)
        if self.slowest > SECONDS:
            raise AssertionError(f"{len(data)} bytes took {self.slowest:.1f} s")

    def _is_original(self, parsed: container.Container) -> None:
        kept = [n for n in range(len(parsed.tiles)) if n not in parsed.damaged]
        for original in self._originals:
            if original.header == parsed.header and all(parsed.tiles[n] == original.tiles[n] for n in kept):
                return
        raise AssertionError("a damaged file gave a tile that was never in it")

    def _decode(self, parsed: container.Container) -> None:
        header = parsed.header
        if header.width * header.height > PIXELS or header.fingerprint != self.codec.fingerprint:
            return
        try:
            picture = self.codec.decode_container(parsed)
        except AecodecError as error:
            self.outcomes[f"{type(error).__name__} in decoding"] += 1
            return
        self.outcomes["decoded"] += 1
        if picture.pixels.shape[:2] != (header.height, header.width):
            raise AssertionError(f"decoded to {picture.pixels.shape}, declared {header.height} x {header.width}")


def run_random(law: Law, examples: int, seed: int) -> None:
    """Seeded mutations; on a finding, the file is kept beside the seeds' folder and the exception raised."""
    rng = random.Random(seed)
    names = sorted(SEEDS)
    for number in range(examples):
        data, repaired = mutate(rng, SEEDS[names[number % len(names)]])
        try:
            law.check(data, repaired)
        except BaseException:
            Path(f"fuzz-finding-{seed}-{number}.aec").write_bytes(data)
            raise


def run_hypothesis(law: Law, examples: int) -> None:
    """The same mutations with Hypothesis making the choices, so that a finding is shrunk."""
    from hypothesis import HealthCheck, given, settings
    from hypothesis import strategies as st

    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.randoms(use_true_random=False), st.sampled_from(sorted(SEEDS)))
    def obeys(rng: random.Random, name: str) -> None:
        law.check(*mutate(rng, SEEDS[name]))

    obeys()


@click.command()
@click.option("--examples", type=click.IntRange(1), default=20_000, show_default=True)
@click.option("--seed", default=0, show_default=True, help="Of the random engine.")
@click.option("--engine", type=click.Choice(["random", "hypothesis"]), default="random", show_default=True)
def main(examples: int, seed: int, engine: str) -> None:
    """Mutate the seeds and hold every outcome to the law."""
    law = Law(decode_share=0.05)
    begin = time.perf_counter()
    if engine == "random":
        run_random(law, examples, seed)
    else:
        run_hypothesis(law, examples)
    click.echo(f"{examples} files in {time.perf_counter() - begin:.0f} s, slowest {law.slowest:.3f} s")
    for outcome, count in law.outcomes.most_common():
        click.echo(f"{count:8d}  {outcome}")


if __name__ == "__main__":
    main()
