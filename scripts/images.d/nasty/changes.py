"""The upper layers: all that a layer can do to those below it."""

from tarball import DIR, END, LINK, SYMLINK, entry, folder, pax


def tree(name, *files):
    out = folder(name, mode=0o750, uid=11)
    return out + b"".join(entry(name + b"/" + f, data=b"lower " + f) for f in files)


def lower():
    """What the layers above change. Each folder is one case."""
    out = tree(b"w", b"file", b"kept", b"as-folder", b"\xff-bytes") + tree(b"w/dir", b"a", b"b") + tree(b"gone", b"x")
    out += entry(b"w/symlink", SYMLINK, link=b"kept", mode=0o777)
    for case in (b"opaque", b"opaque-first", b"opaque-last", b"opaque-implied", b"opaque-deep"):
        out += tree(case, b"hidden", b"both") + tree(case + b"/sub", b"hidden", b"both")
    for case in (b"again", b"again-after", b"again-implied"):
        out += tree(case, b"beside") + tree(case + b"/d", b"hidden", b"both")
    out += tree(b"over", b"file-to-folder", b"file-to-link", b"file", b"stays")
    for name in (b"folder-to-file", b"folder-to-link", b"folder"):
        out += tree(b"over/" + name, b"below")
    out += entry(b"over/link-to-folder", SYMLINK, link=b"folder", mode=0o777)
    out += entry(b"over/link-to-file", SYMLINK, link=b"stays", mode=0o777)
    x = b"SCHILY.xattr."
    out += pax([(x + b"user.lower", b"1"), (x + b"user.both", b"1")], folder(b"attributes"))
    out += entry(b"attributes/untouched", data=b"u")
    out += tree(b"hard", b"hidden-later", b"replaced", b"stays", b"twice-hidden")
    out += entry(b"hard/twin", LINK, link=b"hard/replaced", uid=0)
    out += entry(b"hard/sym", SYMLINK, link=b"stays", mode=0o777)
    out += tree(b"implied", b"a") + tree(b"implied/deep", b"b")
    out += tree(b"through") + tree(b"through/real", b"hidden", b"kept", b"replaced")
    for name, target in ((b"link", b"real"), (b"up", b"../through/./link")):
        out += entry(b"through/" + name, SYMLINK, link=target, mode=0o777)
    return out + END


def upper():
    """Whiteouts before and after what they stand beside; each hides lower layers only."""
    out = folder(b"w", mode=0o755) + entry(b"w/.wh.file") + entry(b"w/.wh.dir") + entry(b"w/.wh.never-was")
    out += entry(b"w/.wh.symlink") + entry(b"w/.wh.\xff-bytes") + entry(b".wh.gone")
    out += entry(b"w/.wh.as-folder", DIR) + entry(b"w/.wh..wh.plnk", DIR) + entry(b"w/.wh..wh.aufs")
    out += folder(b"opaque", mode=0o701) + entry(b"opaque/.wh..wh..opq") + entry(b"opaque/both", data=b"upper")
    out += entry(b"opaque-first/.wh..wh..opq") + folder(b"opaque-first") + entry(b"opaque-first/new", data=b"n")
    out += folder(b"opaque-last") + entry(b"opaque-last/both", data=b"upper")
    out += folder(b"opaque-last/sub") + entry(b"opaque-last/sub/new", data=b"n")
    out += entry(b"opaque-last/.wh..wh..opq")
    out += entry(b"opaque-implied/.wh..wh..opq") + entry(b"opaque-implied/new", data=b"n")
    out += entry(b"opaque-deep/sub/.wh..wh..opq")
    out += entry(b"again/.wh.d") + folder(b"again/d", mode=0o711) + entry(b"again/d/both", data=b"upper")
    out += folder(b"again-after/d", mode=0o711) + entry(b"again-after/d/new", data=b"n") + entry(b"again-after/.wh.d")
    out += entry(b"again-implied/d/new", data=b"n") + entry(b"again-implied/.wh.d")
    out += folder(b"over/file-to-folder") + entry(b"over/file-to-folder/in", data=b"i")
    out += entry(b"over/folder-to-file", data=b"f") + entry(b"over/file", data=b"upper", mode=0o600, mtime=9)
    out += entry(b"over/folder-to-link", SYMLINK, link=b"stays", mode=0o777)
    out += entry(b"over/file-to-link", SYMLINK, link=b"stays", mode=0o777)
    out += folder(b"over/link-to-folder") + entry(b"over/link-to-folder/in", data=b"i")
    out += entry(b"over/link-to-file", data=b"f") + folder(b"over/folder", mode=0o500, uid=3, mtime=77)
    x = b"SCHILY.xattr."
    out += pax([(x + b"user.upper", b"2"), (x + b"user.both", b"2")], folder(b"attributes", mode=0o1777))
    out += entry(b"hard/linked", LINK, link=b"hard/hidden-later") + entry(b"hard/replaced", data=b"upper")
    out += entry(b"hard/linked-too", LINK, link=b"hard/linked") + entry(b"hard/from-twice", LINK, link=b"hard/twice-hidden")
    out += entry(b"hard/to-stays", LINK, link=b"hard/stays") + entry(b"hard/to-sym", LINK, link=b"hard/sym", mode=0o777)
    out += entry(b"through/link/new", data=b"n") + entry(b"through/link/.wh.hidden")
    out += entry(b"through/up/replaced", data=b"upper") + folder(b"through/up/folder", mode=0o711)
    out += entry(b"through/up/folder/in", data=b"i")
    return out + entry(b"implied/deep/new", data=b"n") + entry(b"implied/more/new", data=b"n") + END


def top():
    """Hides what the layer below linked to, and gives the root its attributes."""
    root = [(b"SCHILY.xattr.user.root", b"r"), (b"mtime", b"1600000000.000000007")]
    out = pax(root, folder(b"/", mode=0o1755, uid=1, gid=1))
    out += entry(b"hard/.wh.hidden-later") + entry(b"hard/.wh.twice-hidden") + entry(b"hard/.wh.from-twice")
    out += entry(b"hard/third", LINK, link=b"hard/linked-too")
    out += entry(b"w/file", data=b"back again") + folder(b"gone") + entry(b"opaque/hidden", data=b"back")
    return out + entry(b"links/.wh.second") + entry(b"links/fifth", LINK, link=b"links/third", uid=5) + END


def empty():
    return END


def unterminated():
    """No end-of-archive blocks at all."""
    return folder(b"end") + entry(b"end/unterminated", data=b"u")


def trailing():
    """Bytes after the end of the archive, which the diffID covers."""
    return entry(b"end/trailing", data=b"t") + END + b"not an entry" * 1000 + entry(b"end/never", data=b"no")
