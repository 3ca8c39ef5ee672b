"""The first layers: every way to write an entry, every kind of file."""

import random

import sparse
from tarball import (BLOCKDEV, CHAR, DIR, END, FIFO, GNU, LINK, SYMLINK, V7, entry, folder, gnu,
                     pax)

ANCIENT = -1_000_000_000  # 1938
LONG = b"/".join([b"a-name-of-thirty-bytes-in-length"] * 6)


def ustar():
    out = folder(b"./", mode=0o751, uid=7, gid=8, mtime=1_111_111_111)
    out += folder(b"ustar/") + entry(b"ustar/file", data=b"plain\n", uid=1, gid=2, mode=0o640)
    out += folder(b"ustar/" + LONG + b"/") + entry(b"ustar/" + LONG + b"/file", data=b"split name")
    out += entry(b"ustar/v7", kind=b"\0", data=b"no magic", magic=V7)
    out += entry(b"ustar/v7-folder/", kind=b"\0", magic=V7, mode=0o700)
    out += entry(b"ustar/ancient", data=b"base 256", mtime=ANCIENT, magic=GNU)
    out += entry(b"ustar/wide", data=b"base 256", uid=3_000_000_000, gid=2_999_999_999, magic=GNU)
    out += entry(b"ustar/empty") + entry(b"ustar/block", data=b"b" * 512)
    for bits in range(0, 0o10000, 0o1111):
        out += entry(b"ustar/mode-%04o" % bits, mode=bits, data=b"m")
    out += entry(b"ustar/setuid", mode=0o4755, uid=33, gid=33, data=b"u")
    out += entry(b"ustar/setgid", mode=0o2755, uid=33, gid=33, data=b"g")
    return out + folder(b"ustar/sticky", mode=0o1777) + folder(b"ustar/setgid-folder/", mode=0o2775, gid=50)


def special():
    out = folder(b"special") + entry(b"special/null", CHAR, device=(1, 3), mode=0o666)
    out += entry(b"special/tty", CHAR, device=(5, 0), mode=0o620, gid=5)
    out += entry(b"special/disk", BLOCKDEV, device=(8, 17), mode=0o660, gid=6)
    out += entry(b"special/wide", BLOCKDEV, device=(4095, 1048575), mode=0o600)
    out += entry(b"special/fifo", FIFO, mode=0o622)
    for name, target in ((b"relative", b"../ustar/file"), (b"absolute", b"/ustar/file"),
                         (b"dangling", b"no/such"), (b"up", b"../../../../ustar"),
                         (b"loop", b"loop"), (b"bytes", b"\xff\xfe/\x80"), (b"dot", b".")):
        out += entry(b"special/link-" + name, SYMLINK, link=target, mode=0o777)
    return out + gnu(b"special/link-longest", SYMLINK, link=b"t/" * 2047 + b"t", mode=0o777)


def names():
    out = folder(b"names") + folder(b"./names/dot/") + entry(b"./names/dot/file", data=b"1")
    out += entry(b"/names/slash", data=b"2") + entry(b".//names//./double", data=b"3")
    out += entry(b"names/missing/parents/of/file", data=b"4")
    out += entry(b"names/not-utf8-\xff\xfe\x80", data=b"5") + folder(b"names/\xe9t\xe9/")
    out += entry(b"names/\xe9t\xe9/x", data=b"6") + entry(b"names/new\nline\ttab \"quote\" \\", data=b"7")
    out += entry("names/日本語-🦀".encode(), data=b"8") + entry(b"names/ space ", data=b"9")
    out += entry(b"names/...", data=b"a") + entry(b"names/..b", data=b"b") + entry(b"names/wh.x", data=b"c")
    out += gnu(b"names/" + b"n" * 255, data=b"255 bytes, GNU")
    out += pax([(b"path", b"names/" + b"p" * 255)], entry(b"names/p", data=b"255 bytes, PAX"))
    out += pax([(b"path", b"names/\xff\xfepax")], entry(b"names/x", data=b"not UTF-8, PAX"))
    return out + entry(b"", DIR, mode=0o753, uid=9, gid=9, mtime=1_222_222_222)


def links():
    out = folder(b"links") + entry(b"links/first", data=b"shared", uid=5)
    out += entry(b"links/second", LINK, link=b"links/first", uid=5)
    out += entry(b"links/third", LINK, link=b"./links/second", uid=5)
    out += entry(b"links/fourth", LINK, link=b"/links/first", uid=5)
    out += gnu(b"links/" + b"l" * 200, LINK, link=b"links/first", uid=5)
    out += gnu(b"links/to-long", LINK, link=b"links/" + b"l" * 200, uid=5)
    out += pax([(b"linkpath", b"links/" + b"l" * 200)], entry(b"links/pax", LINK, link=b"x", uid=5))
    out += entry(b"links/symlink", SYMLINK, link=b"first", mode=0o777)
    out += entry(b"links/to-symlink", LINK, link=b"links/symlink", mode=0o777)
    return out + entry(b"links/fifo", FIFO) + entry(b"links/to-fifo", LINK, link=b"links/fifo")


def attributes():
    capability = bytes.fromhex("0100000200200000000000000000000000000000")  # cap_net_raw=ep
    out = folder(b"pax")
    out += pax([(b"mtime", b"1700000000.123456789")], entry(b"pax/nanoseconds", data=b"n"))
    out += pax([(b"mtime", b"-1.25")], entry(b"pax/before-1970", data=b"n"))
    out += pax([(b"mtime", b"1700000000.5")], folder(b"pax/folder/"))
    out += pax([(b"mtime", b"5000000000.000000001")], entry(b"pax/link", SYMLINK, link=b"x", mode=0o777))
    out += pax([(b"uid", b"4000000000"), (b"gid", b"2097153")], entry(b"pax/owner", data=b"o"))
    out += pax([(b"size", b"5")], entry(b"pax/size", data=b"12345", size=0))
    out += pax([(b"comment", b"no effect"), (b"VENDOR.key", b"a=b\nc")], entry(b"pax/unknown", data=b"u"))
    x = b"SCHILY.xattr."
    out += pax([(x + b"user.bytes", b"a\nb\0c=d\n"), (x + b"user.large", b"v" * 2000)],
               entry(b"pax/xattrs", data=b"x"))
    out += pax([(x + b"security.capability", capability)], entry(b"pax/ping", data=b"ping", mode=0o755))
    out += pax([(x + b"trusted.folder", b"1"), (x + b"user.folder", b"2")], folder(b"pax/xattr-folder/"))
    out += pax([(x + b"trusted.link", b"1")], entry(b"pax/xattr-link", SYMLINK, link=b"y", mode=0o777))
    out += pax([(x + b"trusted.overlay.opaque", b"y"), (x + b"user.overlay.opaque", b"y"), (x + b"user.kept", b"k")],
               folder(b"pax/overlay/"))
    return out + entry(b"pax/overlay/file", data=b"seen")


def content():
    rng = random.Random(1)
    words = [b"%x" % rng.getrandbits(20) for _ in range(3000)]
    out = folder(b"content") + entry(b"content/random", data=rng.randbytes(3 << 20))
    out += entry(b"content/zeros", data=bytes(5 << 20))
    return out + entry(b"content/text", data=b" ".join(rng.choice(words) for _ in range(1_500_000)))


def duplicates():
    def twice(name, first, second):
        return first(b"twice/" + name) + second(b"twice/" + name)

    def file(data):
        return lambda name: entry(name, data=data)

    def symlink(name):
        return entry(name, SYMLINK, link=b"file", mode=0o777)

    out = folder(b"twice") + twice(b"file", file(b"old, longer"), file(b"new"))
    out += folder(b"twice/folder", mode=0o700) + entry(b"twice/folder/kept", data=b"k")
    out += folder(b"twice/folder", mode=0o711, mtime=5)
    out += twice(b"file-to-link", file(b"f"), symlink) + twice(b"link-to-file", symlink, file(b"f"))
    out += twice(b"file-to-folder", file(b"f"), folder) + twice(b"folder-to-file", folder, file(b"f"))
    out += twice(b"link-to-folder", symlink, folder) + entry(b"twice/link-to-folder/in", data=b"i")
    out += entry(b"twice/linked", data=b"stays") + entry(b"twice/other", LINK, link=b"twice/linked")
    return out + entry(b"twice/linked", data=b"replaced")


def first():
    return ustar() + special() + names() + links() + attributes() + content() + duplicates() + END


def sparse_pax():
    return (folder(b"sparse") + folder(b"sparse/0.0") + sparse.files(sparse.pax_0_0, b"sparse/0.0")
            + folder(b"sparse/0.1") + sparse.files(sparse.pax_0_1, b"sparse/0.1")
            + folder(b"sparse/1.0") + sparse.files(sparse.pax_1_0, b"sparse/1.0") + END)


def obscure():
    """What umoci does not take: a global header, a contiguous file, the longest path, an empty
    xattr, and sparse files of GNU's old way."""
    out = pax([(b"comment", b"as git archive writes it")], b"", kind=b"g")
    out += entry(b"contiguous", kind=b"7", data=b"a contiguous file is a file")
    out += pax([(b"SCHILY.xattr.user.empty", b""), (b"SCHILY.xattr.user.one", b"1")], entry(b"empty-xattr"))
    deep = b"/".join([b"d" * 255] * 15)
    out += gnu(deep + b"/" + b"f" * (4095 - len(deep) - 1), data=b"a path of PATH_MAX with its NUL")
    return out + folder(b"sparse/old") + sparse.files(sparse.old, b"sparse/old") + END


def crowd():
    out = folder(b"crowd")
    for i in range(20_000):
        out += entry(b"crowd/%05d" % i, data=b"%d" % i if i % 7 == 0 else b"", mtime=i)
    return out + END
