#!/usr/bin/env python3
"""Lists the members of a tar archive as Python's tarfile reads them, one a line, to compare with.

    list.py ARCHIVE

Fields, separated by tabs: type, name, link target (hex), mode, uid, gid, mtime in nanoseconds, size,
device, SHA-256 of the content, xattrs (hex name=hex value, joined by commas).
"""

import hashlib
import sys
import tarfile
from decimal import Decimal

KINDS = {
    tarfile.LNKTYPE: "hardlink", tarfile.SYMTYPE: "symlink", tarfile.DIRTYPE: "dir",
    tarfile.CHRTYPE: "char", tarfile.BLKTYPE: "block", tarfile.FIFOTYPE: "fifo",
}


def raw(text):
    return text.encode("utf-8", "surrogateescape")


def fields(tar, member):
    kind = KINDS.get(member.type, "file")
    mtime = Decimal(member.pax_headers.get("mtime", member.mtime))
    content, device, size = "", "", 0
    if kind == "file":
        data = tar.extractfile(member).read()
        content, size = hashlib.sha256(data).hexdigest(), len(data)
    if kind in ("char", "block"):
        device = f"{member.devmajor}:{member.devminor}"
    xattrs = {raw(key[13:]): raw(value) for key, value in member.pax_headers.items()
              if key.startswith("SCHILY.xattr.")}
    yield kind
    yield raw(member.name).rstrip(b"/").hex()
    yield raw(member.linkname).hex() if kind in ("hardlink", "symlink") else ""
    yield from map(str, (member.mode & 0o7777, member.uid, member.gid, int(mtime * 10**9), size))
    yield device
    yield content
    yield ",".join(f"{key.hex()}={value.hex()}" for key, value in sorted(xattrs.items()))


with tarfile.open(sys.argv[1], "r:", errors="surrogateescape") as archive:
    for entry in archive:
        print("\t".join(fields(archive, entry)))
