"""XMP as packets of text: the orientation in them, and packets that JPEG holds in two parts."""

from __future__ import annotations

import hashlib
import re

_TIFF_SPACE = rb"http://ns\.adobe\.com/tiff/1\.0/"
#: Where Pillow looks for an orientation, in packets that are well-formed and in any others, and the digit it takes.
_LOOSE = re.compile(rb'(tiff:Orientation(?:="|>))([0-9])')
#: Prefixes that are taken for the namespace of TIFF in one packet.
_MOST_NAMES = 16
_NOTE = rb"""\s+xmpNote:HasExtendedXMP\s*=\s*["'][0-9A-Fa-f]{32}["']|""" + (
    rb"<xmpNote:HasExtendedXMP>\s*[0-9A-Fa-f]{32}\s*</xmpNote:HasExtendedXMP>"
)
_OPENING = re.compile(rb"<rdf:RDF\b([^>]*)>")
#: The only names that an extension may have declared above its descriptions, if these are to be moved.
_PLAIN = re.compile(rb"""(?:\s+xmlns:(?:rdf|x)\s*=\s*["'][^"']*["'])*\s*""")


def _values(xmp: bytes) -> re.Pattern[bytes]:
    """Finds orientations: what stands before the value, the value, and what ends it."""
    bound = re.findall(rb"""xmlns:([\w.-]+)\s*=\s*["']""" + _TIFF_SPACE + rb"""["']""", xmp)
    name = (
        rb"(?:"
        + rb"|".join(re.escape(prefix) for prefix in sorted({b"tiff", *bound})[:_MOST_NAMES])
        + rb"):Orientation"
    )
    return re.compile(rb"(\b" + name + rb"\s*=\s*[\"']|<" + name + rb"(?:\s[^>]*)?>)([^\"'<>]*)(?=[\"'<])", re.DOTALL)


def xmp_orientation(xmp: bytes) -> int:
    """The orientation that a packet gives, 1 to 8; 0 where it gives no valid one."""
    found = _values(xmp).search(xmp)
    text = found.group(2).strip() if found else b""
    return int(text) if re.fullmatch(rb"0*[1-8]", text) else 0


def with_xmp_orientation(xmp: bytes, value: int) -> bytes:
    """The packet with every orientation in it set, Pillow's too; all other bytes as they were."""
    return _LOOSE.sub(rb"\g<1>%d" % value, _values(xmp).sub(rb"\g<1>%d" % value, xmp))


def normal_xmp(xmp: bytes) -> bytes:
    """A packet by which Pillow turns a picture as we do, or not at all: the same if it is one, else all orientations
    are set to the one that we read, or 1; empty where even that leaves the two apart."""
    if _agreed(xmp):
        return xmp
    changed = with_xmp_orientation(xmp, xmp_orientation(xmp) or 1)
    return changed if _agreed(changed) else b""


def _agreed(xmp: bytes) -> bool:
    found = _LOOSE.search(xmp)
    return found is None or (int(found[2]) if found[2] in b"12345678" else 1) == (xmp_orientation(xmp) or 1)


def extension_of(xmp: bytes) -> str | None:
    """The name of the extension that a packet speaks of: the MD5 of it in hexadecimal capitals."""
    found = re.search(_NOTE, xmp)
    return re.sub(rb".*([0-9A-Fa-f]{32}).*", rb"\1", found.group(), flags=re.DOTALL).decode().upper() if found else None


def joined(packet: bytes, extension: bytes) -> bytes | None:
    """A packet and its extension as one packet; None where the extension cannot be moved into it unchanged."""
    if hashlib.md5(extension, usedforsecurity=False).hexdigest().upper() != extension_of(packet):
        return None
    packet = re.sub(_NOTE, b"", packet)
    if re.fullmatch(_EMPTY, packet):
        return extension
    opening = _OPENING.search(extension)
    end, place = extension.rfind(b"</rdf:RDF>"), packet.rfind(b"</rdf:RDF>")
    if opening is None or end < 0 or place < 0 or not _PLAIN.fullmatch(opening.group(1)):
        return None
    return packet[:place] + extension[opening.end() : end] + packet[place:]


def split(xmp: bytes) -> tuple[bytes, bytes]:
    """A packet as a small one and its extension, which holds all of it: the inverse of `joined`."""
    name = hashlib.md5(xmp, usedforsecurity=False).hexdigest().upper().encode()
    return _STUB % (b' xmpNote:HasExtendedXMP="' + name + b'"'), xmp


_STUB = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description rdf:about="" xmlns:xmpNote="http://ns.adobe.com/xmp/note/"%s/></rdf:RDF></x:xmpmeta>'
)
_EMPTY = re.escape(_STUB % b"")
