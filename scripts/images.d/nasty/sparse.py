"""GNU's four ways to write a sparse file."""

from tarball import BLOCK, GNU, entry, header, number, padded, pax

MIB = 1 << 20
# More runs than one header holds. All but the last are whole blocks: GNU tar pads a run to a block,
# Go does not, and writers only ever make whole ones.
SIZE = 8 * MIB + 123
RUNS = [(i * 3 * 64 * 1024, b"%07d " % i * 1024) for i in range(40)] + [(8 * MIB, b"." * 123)]
SHAPES = {
    b"many": (SIZE, RUNS),
    b"tail": (MIB, [(MIB - 1, b"x")]),
    b"hole": (MIB, []),
    b"none": (0, []),
}


def pairs(runs, size):
    """Offsets and lengths, closed by an empty run at the end as GNU tar writes it."""
    return [(offset, len(data)) for offset, data in runs] + [(size, 0)]


def old(name, size, runs):
    """Typeflag S: four runs in the header, 21 in each block after it."""
    numbers = [number(a, 12) + number(b, 12) for a, b in pairs(runs, size)]
    first, rest = numbers[:4], numbers[4:]
    tail = bytes(41) + b"".join(first).ljust(96, b"\0") + (b"\1" if rest else b"\0") + number(size, 12)
    data = b"".join(data for _, data in runs)
    out = header(name, b"S", len(data), magic=GNU, tail=tail)
    while rest:
        block, rest = rest[:21], rest[21:]
        out += (b"".join(block).ljust(504, b"\0") + (b"\1" if rest else b"\0")).ljust(BLOCK, b"\0")
    return out + padded(data)


def pax_0_0(name, size, runs):
    records = [(b"GNU.sparse.size", b"%d" % size),
               (b"GNU.sparse.numblocks", b"%d" % (len(runs) + 1))]
    for offset, length in pairs(runs, size):
        records += [(b"GNU.sparse.offset", b"%d" % offset), (b"GNU.sparse.numbytes", b"%d" % length)]
    return pax(records, entry(name, data=b"".join(data for _, data in runs)))


def pax_0_1(name, size, runs):
    numbers = [b"%d" % n for pair in pairs(runs, size) for n in pair]
    records = [(b"GNU.sparse.size", b"%d" % size),
               (b"GNU.sparse.numblocks", b"%d" % (len(runs) + 1)),
               (b"GNU.sparse.name", name), (b"GNU.sparse.map", b",".join(numbers))]
    return pax(records, entry(b"GNUSparseFile.7/placeholder", data=b"".join(d for _, d in runs)))


def pax_1_0(name, size, runs):
    numbers = [len(runs) + 1] + [n for pair in pairs(runs, size) for n in pair]
    records = [(b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"),
               (b"GNU.sparse.name", name), (b"GNU.sparse.realsize", b"%d" % size)]
    stored = padded(b"".join(b"%d\n" % n for n in numbers)) + b"".join(data for _, data in runs)
    return pax(records, entry(b"GNUSparseFile.7/placeholder", data=stored))


def files(writer, folder):
    """Every shape in `folder`, by one of the ways above."""
    return b"".join(writer(folder + b"/" + name, *shape) for name, shape in SHAPES.items())
