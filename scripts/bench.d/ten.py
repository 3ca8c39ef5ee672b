"""The Python image as ten layers, every folder in each of them: an OCI layout, and unpacked."""

import gzip
import hashlib
import io
import os
import sys
import tarfile
import zlib

sys.path.append(os.path.join(os.path.dirname(os.path.realpath(__file__)), "../oci"))
from layout import OCI, Layout

LAYERS = 10


def split(root):
    """Ten archives: each file in one of them, by its name."""
    streams = [io.BytesIO() for _ in range(LAYERS)]
    tars = [tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) for stream in streams]
    for path, folders, names in os.walk(root):
        folders.sort()
        for name in ["", *sorted(names), *(f for f in folders if os.path.islink(os.path.join(path, f)))]:
            full = os.path.join(path, name) if name else path
            inside = os.path.relpath(full, root)
            if inside == ".":
                continue
            into = tars if not name else [tars[zlib.crc32(inside.encode(errors="surrogateescape")) % LAYERS]]
            for tar in into:
                # Each name is a file of its own: a link's target may be in another layer.
                tar.inodes.clear()
                tar.add(full, inside, recursive=False)
    for tar in tars:
        tar.close()
    return [stream.getvalue() for stream in streams]


def make(root, layout_path, unpacked_path):
    """Makes the layout, and the folders of its layers for overlayfs, the lowest first."""
    layout, folders = Layout(layout_path), []
    streams = split(root)
    blobs = [layout.blob(gzip.compress(tar, 1, mtime=0), OCI + "layer.v1.tar+gzip") for tar in streams]
    diff_ids = ["sha256:" + hashlib.sha256(tar).hexdigest() for tar in streams]
    layout.tag("latest", layout.image(blobs, diff_ids))
    layout.finish()
    for number, tar in enumerate(streams):
        folder = os.path.join(unpacked_path, str(number))
        os.makedirs(folder)
        with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
            archive.extractall(folder, filter="fully_trusted")
        folders.append(folder)
    return folders
