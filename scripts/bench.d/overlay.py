"""Kernel overlayfs over the unpacked layers of an image, one lower a layer, as containerd has it."""

import json
import os
import subprocess


def layers(layout, tag):
    def blob(descriptor):
        return os.path.join(layout, "blobs", *descriptor["digest"].split(":"))

    with open(os.path.join(layout, "index.json")) as file:
        (found,) = [m for m in json.load(file)["manifests"]
                    if m["annotations"]["org.opencontainers.image.ref.name"] == tag]
    with open(blob(found)) as file:
        return [blob(layer) for layer in json.load(file)["layers"]]


def unpack(blob, folder):
    """Unpacks one layer with whiteouts as overlayfs keeps them: device 0:0."""
    os.mkdir(folder)
    subprocess.run(["tar", "--extract", "--xattrs", "--xattrs-include=*", "--file", blob,
                    "--directory", folder], check=True)
    for path, _, names in os.walk(folder):
        for name in names:
            if name == ".wh..wh..opq":
                os.remove(os.path.join(path, name))
                os.setxattr(path, "trusted.overlay.opaque", b"y")
            elif name.startswith(".wh."):
                os.remove(os.path.join(path, name))
                os.mknod(os.path.join(path, name[len(".wh."):]), 0o020000, 0)


def mount(layout, tag, scratch):
    """Mounts the image in a new folder of `scratch`; where."""
    lowers = []
    for number, blob in enumerate(layers(layout, tag)):
        lowers.insert(0, os.path.join(scratch, str(number)))
        unpack(blob, lowers[0])
    target = os.path.join(scratch, "overlay")
    os.mkdir(target)
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o",
                    "ro,lowerdir=" + ":".join(lowers), target], check=True)
    return target
