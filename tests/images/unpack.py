#!/usr/bin/env python3
"""Unpacks an image the slow and obvious way: GNU tar for the entries, and the specification's words
for whiteouts (OCI image-spec, layer.md). The tests compare mounted trees with what this makes.

    unpack.py LAYOUT TAG FOLDER

A layer's whiteouts hide what the layers below have, whatever their place in the archive. A folder
that a layer does not list keeps what it had, its time of modification too; one that no layer ever
listed is root's, 0755, of 1970.
"""

import json
import os
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile

EXTRACT = ["tar", "--extract", "--numeric-owner", "--same-owner", "--same-permissions",
           "--delay-directory-restore", "--xattrs", "--xattrs-include=*", "--exclude=.wh.*"]


def layers(layout, tag):
    def blob(descriptor):
        return os.path.join(layout, "blobs", *descriptor["digest"].split(":"))

    with open(os.path.join(layout, "index.json")) as file:
        index = json.load(file)
    name = "org.opencontainers.image.ref.name"
    (found,) = [m for m in index["manifests"] if m.get("annotations", {}).get(name) == tag]
    with open(blob(found)) as file:
        return [blob(layer) for layer in json.load(file)["layers"]]


def decompress(blob, into):
    with open(blob, "rb") as file:
        magic = file.read(4)
    program = {b"\x1f\x8b": "gzip", b"\x28\xb5": "zstd", b"\x50\x2a": "zstd"}.get(magic[:2], "cat")
    flags = [] if program == "cat" else ["-d", "-c"]
    with open(blob, "rb") as source:
        subprocess.run([program, *flags], stdin=source, stdout=into, check=True)
    into.flush()


def members(archive):
    """Pairs of cleaned path (bytes, relative, the root is b".") and whether it is a folder."""
    with tarfile.open(archive, "r:", errors="surrogateescape") as tar:
        for member in tar:
            yield os.path.normpath(b"./" + os.fsencode(member.name).lstrip(b"/")), member.isdir()


def remove(path):
    if os.path.islink(path) or not os.path.isdir(path):
        if os.path.lexists(path):
            os.remove(path)
    else:
        shutil.rmtree(path)


def folders():
    for path, names, _ in os.walk(b"."):
        yield os.path.normpath(path)
        names[:] = [name for name in names if not os.path.islink(os.path.join(path, name))]


def is_whiteout(path):
    return any(part.startswith(b".wh.") for part in path.split(b"/"))


def hide(path):
    """What the whiteout file `path` says to the layers below."""
    parent, name = os.path.split(path)
    if name == b".wh..wh..opq":
        for child in os.listdir(parent or b".") if os.path.isdir(parent or b".") else []:
            remove(os.path.join(parent, child))
    elif not name.startswith(b".wh..wh."):
        remove(os.path.join(parent, name[len(b".wh."):]))


def parents(path):
    while path := os.path.dirname(path):
        yield path


def make_way(path, is_folder):
    """Nothing of the layers below may be in the way of an entry or shine through it."""
    for parent in parents(path):
        if os.path.lexists(parent) and not os.path.isdir(parent):
            remove(parent)
    if is_folder and os.path.isdir(path) and not os.path.islink(path):
        for name in os.listxattr(path):
            os.removexattr(path, name)
    elif os.path.lexists(path):
        remove(path)


def apply(archive):
    """Applies one uncompressed layer to the working folder."""
    listed = dict(members(archive))
    real = {path: is_folder for path, is_folder in listed.items() if not is_whiteout(path)}
    times = {path: os.lstat(path).st_mtime_ns for path in folders()}
    for path in listed:
        if is_whiteout(path):
            hide(path)
    for path, is_folder in real.items():
        make_way(path, is_folder)
    implied = {p for path in real for p in parents(path) if not os.path.lexists(p)} - set(real)
    subprocess.run([*EXTRACT, "--file", archive], check=True)
    for path in implied:
        os.chmod(path, 0o755)
        times[path] = 0
    for path, time in times.items():
        if path not in real and os.path.isdir(path) and not os.path.islink(path):
            os.utime(path, ns=(time, time))


def main(layout, tag, folder):
    blobs = layers(layout, tag)
    os.mkdir(folder, 0o755)
    os.utime(folder, (0, 0))
    os.umask(0)
    here = os.getcwd()
    for blob in blobs:
        os.chdir(here)
        with tempfile.NamedTemporaryFile(dir=os.path.dirname(os.path.abspath(folder))) as archive:
            decompress(blob, archive)
            os.chdir(folder)
            apply(archive.name)


main(*sys.argv[1:])
