"""Those who start containers from a registry, each with folders of its own and everything cold:
containerd with its overlayfs, stargz-snapshotter, SOCI, and stratafs. And the registry."""

import contextlib
import glob
import hashlib
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time

from bench import PROGRAM, TOP

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
REGISTRY = """version: 0.1
storage: {{filesystem: {{rootdirectory: {storage}}}}}
http: {{addr: "127.0.0.1:{port}"{tls}}}
log: {{level: error}}
"""
CONTAINERD = """version = 2
root = "{dir}/containerd"
state = "{dir}/containerd-run"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.btrfs",
                    "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper"]
[grpc]
address = "{dir}/containerd.sock"
"""
PROXY = """[proxy_plugins.{name}]
type = "snapshot"
address = "{socket}"
"""


class Missing(Exception):
    """Why something cannot be compared with."""


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


def wait_for(what, is_there, seconds=20):
    end = time.monotonic() + seconds
    while not is_there():
        if time.monotonic() > end:
            raise Missing(f"{what} did not come up in {seconds} s")
        time.sleep(0.02)


def answers(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def size_in_bytes(text):
    number, unit = text.split()
    return float(number) * 1024 ** ["B", "KiB", "MiB", "GiB"].index(unit)


class Daemon:
    """A process that is ended with what it is for."""

    def __init__(self, command, log, **options):
        with open(log, "ab") as out:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, **options)

    def end(self):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Registry(Daemon):
    """Debian's registry; with TLS where it is given a certificate and its key."""

    def __init__(self, folder, tls=None):
        self.port = free_port()
        tls = ", tls: {{certificate: {0}, key: {1}}}".format(*tls) if tls else ""
        config = os.path.join(folder, f"registry-{self.port}.yml")
        with open(config, "w") as file:
            storage = os.path.join(folder, "registry")
            file.write(REGISTRY.format(storage=storage, port=self.port, tls=tls))
        super().__init__(["docker-registry", "serve", config], os.path.join(folder, "registry.log"))
        wait_for("docker-registry", lambda: answers(self.port))

    def call(self, method, path, body=None, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, names)
        answer = connection.getresponse()
        answer.read()
        if answer.status >= 300:
            raise Missing(f"docker-registry: {method} {path}: {answer.status}")
        return answer

    def put_blob(self, repository, data):
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        path = self.call("POST", f"/v2/{repository}/blobs/uploads/").headers["Location"]
        path = path[path.index("/v2/"):]
        self.call("PUT", f"{path}&digest={digest}", data, Content_Type="application/octet-stream")

    def put_artifact(self, repository, layout, digest):
        """Copies an artifact, which nothing but its digest names."""

        def read(digest):
            with open(os.path.join(layout, "blobs", *digest.split(":")), "rb") as file:
                return file.read()

        manifest = read(digest)
        document = json.loads(manifest)
        for part in [document["config"], *document["layers"]]:
            self.put_blob(repository, read(part["digest"]))
        self.call("PUT", f"/v2/{repository}/manifests/{digest}", manifest, Content_Type=OCI_MANIFEST)


class Containerd:
    """containerd with its overlayfs snapshotter: pull, unpack, run."""

    name = "containerd"
    snapshotter = "overlayfs"

    def __init__(self, folder):
        self.folder = tempfile.mkdtemp(dir=folder)
        self.socket = os.path.join(self.folder, "containerd.sock")
        self.log = os.path.join(folder, f"{self.name}.log")
        self.daemons = []
        try:
            config = os.path.join(self.folder, "config.toml")
            with open(config, "w") as file:
                file.write(CONTAINERD.format(dir=self.folder) + self.plugin())
            self.daemons.append(Daemon(["containerd", "-c", config], self.log))
            wait_for("containerd", lambda: self.quiet("ctr", "-a", self.socket, "version"))
        except BaseException:
            self.end()
            raise

    def plugin(self):
        """Starts the snapshotter, and says how containerd finds it."""
        return ""

    def quiet(self, *command):
        return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0

    def call(self, *command, **options):
        with open(self.log, "ab") as log:
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=log, text=True, **options)
        if done.returncode:
            raise Missing(f"{' '.join(command[:4])}... failed, see {self.log}")
        return done.stdout

    def pull(self, reference):
        self.call("ctr", "-a", self.socket, "images", "pull", "--plain-http", reference)

    def start(self, reference, command):
        return self.call("ctr", "-a", self.socket, "run", "--rm", "--snapshotter", self.snapshotter,
                         reference, "bench", *command)

    def run(self, reference, command):
        self.pull(reference)
        return self.start(reference, command)

    def end(self):
        for daemon in reversed(self.daemons):
            daemon.end()
        with open("/proc/self/mounts") as file:
            mounts = [line.split()[1] for line in file]
        for target in reversed([target for target in mounts if target.startswith(self.folder + "/")]):
            subprocess.run(["umount", "--lazy", target], stderr=subprocess.DEVNULL)
        shutil.rmtree(self.folder, ignore_errors=True)


class Stargz(Containerd):
    """stargz-snapshotter, on an image that was converted for it."""

    name = snapshotter = "stargz"
    program = None

    @classmethod
    def build(cls, folder):
        """Makes its daemon; Debian packages the sources."""
        cls.program = os.path.join(folder, "stargz")
        environment = {**os.environ, "GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "GOFLAGS": "",
                       "GOCACHE": os.path.join(TOP, "target/go-cache")}
        source = os.path.join(TOP, "scripts/bench.d/stargz.go")
        built = subprocess.run(["go", "build", "-o", cls.program, source], env=environment,
                               stderr=subprocess.PIPE, text=True)
        if built.returncode:
            raise Missing("its daemon does not build: " + built.stderr.strip().splitlines()[-1])

    def plugin(self):
        address = os.path.join(self.folder, "stargz.sock")
        self.daemons.append(Daemon([self.program, address, os.path.join(self.folder, "stargz")], self.log))
        wait_for("stargz-snapshotter", lambda: os.path.exists(address))
        return PROXY.format(name="stargz", socket=address)

    def pull(self, reference):
        self.call("ctr-remote", "-a", self.socket, "images", "rpull", "--plain-http", reference)


class Soci(Containerd):
    """SOCI, on the unchanged image and its index. It wants a registry with a name and TLS."""

    name = snapshotter = "soci"
    loader = None
    root = None
    certificate = None
    index = None

    @classmethod
    def unpack(cls):
        """Unpacks its programs: they are in a newer Debian."""
        found = subprocess.run([os.path.join(TOP, "scripts/newer")], text=True, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
        if found.returncode:
            raise Missing("scripts/newer cannot unpack it: " + found.stderr.strip().splitlines()[-1])
        cls.root = os.path.join(os.path.dirname(found.stdout.strip().splitlines()[-1]), "root")
        (loader,) = glob.glob(cls.root + "/usr/lib*/ld-linux-*.so.*")
        cls.loader = [loader, "--library-path", glob.glob(cls.root + "/usr/lib/*-linux-gnu")[0]]

    @classmethod
    def make_certificate(cls, folder):
        """A certificate for this machine's name, and its key."""
        host = socket.gethostname()
        try:
            socket.gethostbyname(host)
        except OSError as error:
            raise Missing(f"the name of this machine, {host}, has no address: {error}") from error
        files = [os.path.join(folder, name) for name in ("certificate.pem", "key.pem")]
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
                        "-subj", f"/CN={host}", "-addext", f"subjectAltName=DNS:{host}",
                        "-out", files[0], "-keyout", files[1]],
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        cls.certificate = files[0]
        return files

    def program(self, name):
        return [*self.loader, os.path.join(self.root, "usr/bin", name)]

    def environment(self):
        return {**os.environ, "SSL_CERT_FILE": self.certificate}

    def plugin(self):
        address = os.path.join(self.folder, "soci.sock")
        config = os.path.join(self.folder, "soci.toml")
        open(config, "w").close()
        self.daemons.append(Daemon(
            [*self.program("soci-snapshotter-grpc"), "--address", address, "--config", config,
             "--root", os.path.join(self.folder, "soci")], self.log, env=self.environment()))
        wait_for("soci-snapshotter-grpc", lambda: os.path.exists(address))
        return PROXY.format(name="soci", socket=address)

    def pull(self, reference):
        self.call(*self.program("soci"), "--address", self.socket, "image", "rpull", "--tlscacert",
                  self.certificate, "--snapshotter", "soci", "--soci-index-digest", self.index, reference,
                  env=self.environment())


class Ours:
    """stratafs with a root of its own."""

    def __init__(self, folder, *options):
        self.folder = tempfile.mkdtemp(dir=folder)
        self.log = os.path.join(folder, "stratafs.log")
        self.options = options

    def command(self, *args):
        return [PROGRAM, "--root", os.path.join(self.folder, "root"), "--no-progress", *self.options, *args]

    def call(self, *args):
        with open(self.log, "ab") as log:
            return subprocess.run(self.command(*args), check=True, stdout=subprocess.PIPE, stderr=log,
                                  text=True).stdout

    def run(self, reference, command):
        """What the command says; what it took is in `stats`."""
        done = subprocess.run(self.command("run", "--stats", f"docker://{reference}", *command), check=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.stats = done.stderr
        return done.stdout

    def wanted(self):
        """Compressed bytes of the spans that the reads of the last run wanted, and that were fetched."""
        found = re.search(r"reads wanted (.*); (.*) fetched for reads, (.*) ahead", self.stats)
        wanted, demand, ahead = (size_in_bytes(text) for text in found.groups())
        return wanted, demand + ahead

    def end(self):
        shutil.rmtree(self.folder, ignore_errors=True)
