"""Tar entries byte by byte, as libraries would not write them: every field is the caller's."""

BLOCK = 512
USTAR = b"ustar\x0000"
GNU = b"ustar  \x00"
V7 = bytes(8)
END = bytes(2 * BLOCK)

FILE, LINK, SYMLINK, CHAR, BLOCKDEV, DIR, FIFO = b"0", b"1", b"2", b"3", b"4", b"5", b"6"


def number(value, width):
    """Octal where it fits, else GNU's base 256 (two's complement, first bit set)."""
    if 0 <= value < 8 ** (width - 1):
        return b"%0*o\0" % (width - 1, value)
    raw = bytearray((value % 256**width).to_bytes(width, "big"))
    raw[0] |= 0x80
    return bytes(raw)


def padded(data):
    return data + bytes(-len(data) % BLOCK)


def header(name, kind=FILE, size=0, mode=0o644, uid=0, gid=0, mtime=1_000_000_000, link=b"",
           magic=USTAR, device=(0, 0), prefix=b"", tail=None):
    """One header block. `tail` replaces what follows the device numbers (GNU's old sparse map)."""
    assert len(name) <= 100 and len(link) <= 100 and len(prefix) <= 155, (name, link, prefix)
    block = bytearray(
        name.ljust(100, b"\0") + number(mode, 8) + number(uid, 8) + number(gid, 8)
        + number(size, 12) + number(mtime, 12) + b" " * 8 + kind + link.ljust(100, b"\0")
        + magic + bytes(64) + (number(device[0], 8) + number(device[1], 8) if magic != V7 else bytes(16))
        + (prefix.ljust(155, b"\0") if tail is None else tail))
    block = block.ljust(BLOCK, b"\0")
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def entry(name, kind=FILE, data=b"", **fields):
    """A header and its data; a name of more than 100 bytes is split the ustar way."""
    if len(name) > 100:
        cut = name.index(b"/", len(name) - 101)
        fields["prefix"], name = name[:cut], name[cut + 1:]
    fields.setdefault("size", len(data))
    return header(name, kind, **fields) + padded(data)


def folder(name, mode=0o755, **fields):
    return entry(name, DIR, mode=mode, **fields)


def gnu(name, kind=FILE, data=b"", link=b"", **fields):
    """As `entry`, in GNU's way: long names and link names are entries of their own before it."""
    out = b""
    for what, value in ((b"K", link), (b"L", name)):
        if len(value) > 100:
            out += header(b"././@LongLink", what, len(value) + 1, magic=GNU) + padded(value + b"\0")
    return out + header(name[:100], kind, len(data), link=link[:100], magic=GNU, **fields) + padded(data)


def record(key, value):
    """A PAX record; its length counts its own digits."""
    body = b" " + key + b"=" + value + b"\n"
    size = len(body)
    while len(b"%d" % size) + len(body) != size:
        size = len(b"%d" % size) + len(body)
    return b"%d" % size + body


def pax(records, following, kind=b"x"):
    """A PAX header with `records` (pairs of bytes, in order) before the entry `following`."""
    body = b"".join(record(key, value) for key, value in records)
    return header(b"PaxHeaders/x", kind, len(body)) + padded(body) + following
