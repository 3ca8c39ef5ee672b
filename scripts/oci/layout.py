"""An OCI image layout, written by hand."""

import hashlib
import json
import os

OCI = "application/vnd.oci.image."
DOCKER = "application/vnd.docker."


class Layout:
    def __init__(self, path):
        self.path, self.manifests = path, []
        os.makedirs(os.path.join(path, "blobs", "sha256"))
        with open(os.path.join(path, "oci-layout"), "w") as file:
            json.dump({"imageLayoutVersion": "1.0.0"}, file)

    def blob(self, data, media_type):
        """Stores `data`; its descriptor."""
        data = data if isinstance(data, bytes) else json.dumps(data).encode()
        digest = hashlib.sha256(data).hexdigest()
        with open(os.path.join(self.path, "blobs", "sha256", digest), "wb") as file:
            file.write(data)
        return {"mediaType": media_type, "digest": "sha256:" + digest, "size": len(data)}

    def image(self, layers, diff_ids, docker=False, architecture="amd64"):
        """A manifest of `layers` (descriptors, bottom first); its descriptor."""
        config = {"architecture": architecture, "os": "linux",
                  "config": {"Env": ["PATH=/bin"], "Cmd": ["/bin/sh"]},
                  "rootfs": {"type": "layers", "diff_ids": diff_ids}}
        kind = DOCKER + "container.image.v1+json" if docker else OCI + "config.v1+json"
        media_type = DOCKER + "distribution.manifest.v2+json" if docker else OCI + "manifest.v1+json"
        return self.blob({"schemaVersion": 2, "mediaType": media_type,
                          "config": self.blob(config, kind), "layers": layers}, media_type)

    def index(self, platforms):
        """An image index of pairs of architecture and manifest descriptor; its descriptor."""
        manifests = [{**manifest, "platform": {"os": "linux", "architecture": architecture}}
                     for architecture, manifest in platforms]
        media_type = OCI + "index.v1+json"
        return self.blob({"schemaVersion": 2, "mediaType": media_type, "manifests": manifests}, media_type)

    def tag(self, name, descriptor):
        note = {"org.opencontainers.image.ref.name": name}
        self.manifests.append({**descriptor, "annotations": note})

    def finish(self):
        with open(os.path.join(self.path, "index.json"), "w") as file:
            json.dump({"schemaVersion": 2, "manifests": self.manifests}, file, indent=1)
