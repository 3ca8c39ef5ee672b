"""One tar stream, compressed in each of the ways that layers come in."""

import gzip
import subprocess
import zlib

GZIP, ZSTD, PLAIN = "tar+gzip", "tar+zstd", "tar"


def through(*command):
    def run(data):
        return subprocess.run(command, input=data, stdout=subprocess.PIPE, check=True).stdout
    return run


def members(data, size=700_001):
    """Many gzip members: with stored, fixed and dynamic blocks, empty ones, all header fields."""
    out = bytearray()
    for number, start in enumerate(range(0, max(len(data), 1), size)):
        out += gzip.compress(data[start:start + size], compresslevel=(number * 4) % 10, mtime=number)
        out += gzip.compress(b"", mtime=0)
    return bytes(out)


def decorated(data):
    """One member whose header has an extra field, a name, a comment and its own CRC."""
    head = b"\x1f\x8b\x08\x1f\x01\x02\x03\x04\x02\x03" + b"\x04\x00AB\x00\x00" + b"layer.tar\0" + b"a comment\0"
    raw = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = raw.compress(data) + raw.flush()
    crc = zlib.crc32(head) & 0xFFFF
    return (head + crc.to_bytes(2, "little") + body + zlib.crc32(data).to_bytes(4, "little")
            + (len(data) % 2**32).to_bytes(4, "little"))


def frames(data, size=500_009):
    """Many zstd frames, skippable ones among them."""
    skippable = b"\x50\x2a\x4d\x18\x05\x00\x00\x00hello"
    one = through("zstd", "-q", "-3", "--no-check", "-c")
    parts = [one(data[start:start + size]) for start in range(0, max(len(data), 1), size)]
    return skippable + skippable.join(parts) + skippable


# tag: the media type that the manifest says, and the compression that there is
VARIANTS = {
    "gzip": (GZIP, lambda data: gzip.compress(data, 6, mtime=0)),
    "gzip-members": (GZIP, members),
    "gzip-header": (GZIP, decorated),
    "pigz": (GZIP, through("pigz", "-n", "-c")),
    "bgzip": (GZIP, through("bgzip", "-c")),
    "zstd": (ZSTD, through("zstd", "-q", "-3", "-c")),
    "zstd-frames": (ZSTD, frames),
    "plain": (PLAIN, bytes),
    "mislabelled": (PLAIN, lambda data: gzip.compress(data, 1, mtime=0)),
}
