"""A second reader of .aec files, written from the text at the head of container.py and from nothing else."""

import zlib
from dataclasses import dataclass, field


class Refused(Exception):
    """The file breaks a rule of the format."""


@dataclass
class File:
    """What the bytes say."""

    version: int = 0
    channels: int = 0
    depth: int = 0
    tile: int = 0
    width: int = 0
    height: int = 0
    fingerprint: bytes = b""
    quality: int = 0
    model: str = ""
    tiles: list = field(default_factory=list)
    alpha: bytes | None = None
    metadata: dict = field(default_factory=dict)
    hash: tuple | None = None
    #: Planes, steps of taps and own, taps (out, in, k) and own (out, in).
    filter: tuple | None = None


def number(data: bytes, place: int, size: int) -> int:
    return int.from_bytes(data[place : place + size], "little")


def need(condition: bool, rule: str) -> None:
    if not condition:
        raise Refused(rule)


def read_header(data: bytes) -> tuple[File, int]:
    need(data[:4] == b"AEC\0", "magic")
    need(len(data) >= 27, "header")
    length = data[26]
    end = 27 + length
    need(len(data) >= end + 4, "header")
    need(number(data, end, 4) == zlib.crc32(data[:end]), "header's CRC")
    need(data[4] == 1, "version")
    file = File(
        data[4],
        data[5],
        data[6],
        1 << data[7],
        number(data, 8, 4),
        number(data, 12, 4),
        data[16:24],
        number(data, 24, 2),
        data[27:end].decode("ascii"),
    )
    need(file.channels in (1, 2, 3, 4), "channels")
    need(file.depth == 8, "depth")
    need(8 <= data[7] <= 14, "tile")
    need(1 <= file.width <= 1 << 20 and 1 <= file.height <= 1 << 20, "size")
    need(file.quality <= 1000, "quality")
    need(valid_name(data[27:end]), "name")
    return file, end + 4


def valid_name(name: bytes) -> bool:
    letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."
    return 1 <= len(name) <= 16 and all(character in letters for character in name)


def read(data: bytes) -> File:
    file, place = read_header(data)
    binding = data[place - 4 : place]
    seen: set[bytes] = set()
    others = 0
    while place < len(data):
        need(place + 9 <= len(data), "chunk's end")
        kind, length = data[place : place + 1], number(data, place + 1, 4)
        end = place + 5 + length
        need(end + 4 <= len(data), "chunk's end")
        tile = len(file.tiles) if kind == b"T" else 0
        crc = zlib.crc32(binding + tile.to_bytes(4, "little") + data[place:end])
        need(crc == number(data, end, 4), "chunk's CRC")
        need(kind.isalpha(), "chunk's type")
        others += kind != b"T"
        need(others <= 256, "number of chunks")
        take(file, kind, data[place + 5 : end], seen)
        place = end + 4
    across, down = -(-file.width // file.tile), -(-file.height // file.tile)
    need(len(file.tiles) == across * down, "number of tiles")
    need((file.alpha is not None) == (file.channels in (2, 4)), "alpha")
    return file


def take(file: File, kind: bytes, content: bytes, seen: set) -> None:
    if kind == b"T":
        file.tiles.append(content)
        return
    if kind not in b"AFiexh":
        need(kind.islower(), "critical chunk")
        return
    need(kind not in seen and not file.tiles, "once, before the tiles")
    seen.add(kind)
    if kind == b"A":
        file.alpha = content
    elif kind == b"F":
        file.filter = read_filter(content)
    elif kind == b"h":
        length = content[0]
        name, fingerprint, code = content[1 : 1 + length], content[1 + length : 9 + length], content[9 + length :]
        need(valid_name(name) and 1 <= len(code) <= 64, "semantic hash")
        file.hash = name.decode("ascii"), fingerprint, code
    else:
        file.metadata[{b"i": "icc", b"e": "exif", b"x": "xmp"}[kind]] = zlib.decompress(content)


def read_filter(data: bytes) -> tuple:
    need(len(data) > 3 and data[0] in (1, 3), "planes of the filter")
    planes = data[0]
    bits = [byte >> (7 - place) & 1 for byte in data[3:] for place in range(8)]
    parts = []
    for head, count in ((data[1], planes * planes * 12), (data[2], planes * planes)):
        values = []
        for _ in range(count):
            zeros = 0
            while True:
                need(bool(bits) and zeros <= 24, "a code of the filter")
                if bits.pop(0):
                    break
                zeros += 1
            size = zeros + (head & 15)
            need(len(bits) >= size, "a code of the filter")
            whole = 1
            for _ in range(zeros):
                whole = 2 * whole + bits.pop(0)
            n = whole - 1
            for _ in range(head & 15):
                n = 2 * n + bits.pop(0)
            values.append(-(n + 1) // 2 if n % 2 else n // 2)
            need(abs(values[-1]) <= 1 << 15, "a weight of the filter")
        parts.append(values)
    need(len(bits) < 8 and not any(bits), "the end of the filter")
    return planes, data[1] >> 4, data[2] >> 4, *parts
