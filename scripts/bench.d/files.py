"""What a container sees of an image: an overlay on its tree here, and on its ten layers unpacked on
disk; and the client that does things with the files."""

import contextlib
import glob
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time

import registry
import ten
from bench import TOP, Stratafs, image

CLIENT = os.path.join(TOP, "target/release/examples/bench_files")


def drop(what):
    """2: names and inodes; 3: pages too."""
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w") as file:
        file.write(str(what))


def processor(pid):
    """Seconds of processor time of all threads of a process so far."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{task}/schedstat") as file:
            total += int(file.read().split()[0])
    return total / 1e9


class Side:
    """One of the two that are compared."""

    def __init__(self, dir):
        self.dir, self.count = tempfile.mkdtemp(dir=dir), 0

    def folders(self):
        self.count += 1
        made = [os.path.join(self.dir, f"{name}-{self.count}") for name in ("upper", "work", "root")]
        for folder in made:
            os.mkdir(folder)
        return made


class Native(Side):
    def __init__(self, dir, lowers):
        super().__init__(dir)
        self.lowers = lowers

    @contextlib.contextmanager
    def mounted(self):
        upper, work, root = self.folders()
        lower = ":".join(reversed(self.lowers))
        options = f"lowerdir={lower},upperdir={upper},workdir={work}"
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, root], check=True)
        try:
            yield root, None
        finally:
            subprocess.run(["umount", root], check=True)


class NativeAnew(Native):
    """The same layers on an ext4 of their own, in a file, which is mounted anew each time."""

    def __init__(self, dir, lowers):
        self.image, self.own = os.path.join(dir, "ext4"), os.path.join(dir, "own")
        with open(self.image, "wb") as file:
            file.truncate(4 << 30)
        # Nothing is left for the kernel to do beside what is measured.
        now = "lazy_itable_init=0,lazy_journal_init=0"
        subprocess.run(["mkfs.ext4", "-q", "-E", now, self.image], check=True)
        os.mkdir(self.own)
        with self.mounted_own():
            subprocess.run(["cp", "--archive", *lowers, self.own], check=True)
        super().__init__(dir, [os.path.join(self.own, os.path.basename(lower)) for lower in lowers])

    @contextlib.contextmanager
    def mounted_own(self):
        subprocess.run(["mount", "-o", "loop", self.image, self.own], check=True)
        try:
            yield
        finally:
            subprocess.run(["umount", self.own], check=True)

    @contextlib.contextmanager
    def mounted(self):
        with self.mounted_own(), super().mounted() as mounted:
            yield mounted


class Ours(Side):
    def __init__(self, dir, stratafs, image, mode):
        super().__init__(dir)
        self.stratafs, self.image, self.mode = stratafs, image, mode
        self.options = []

    @contextlib.contextmanager
    def mounted(self):
        upper, _, root = self.folders()
        self.stratafs.run("--mode", self.mode, *self.options, "mount", "--rw", upper, self.image, root)
        (found,) = [m for m in self.stratafs.mounts() if m["target"] == root]
        assert found["mode"] == self.mode, found
        self.local = found["local"]
        try:
            yield root, found["pid"]
        finally:
            # Another mount namespace may hold it a while longer.
            self.stratafs.run("umount", "--lazy", root)


class Arena:
    """The image as ten layers, in a registry here and unpacked."""

    def __enter__(self):
        self.stack = contextlib.ExitStack()
        self.dir = tempfile.mkdtemp(prefix="stratafs-bench.")
        self.stack.callback(shutil.rmtree, self.dir)
        self.stratafs = self.stack.enter_context(Stratafs())
        layout, unpacked = os.path.join(self.dir, "layout"), os.path.join(self.dir, "unpacked")
        with self.stratafs.mounted(f"oci:{image('python')}:latest") as (root, _):
            lowers = ten.make(root, layout, unpacked)
            self.files = [os.path.relpath(os.path.join(path, name), root)
                          for path, _, names in os.walk(root) for name in names
                          if os.path.isfile(os.path.join(path, name)) and not os.path.islink(os.path.join(path, name))]
        reference = self.stack.enter_context(registry.serve(layout))
        self.native = Native(self.dir, lowers)
        self.erofs = Ours(self.dir, self.stratafs, reference, "erofs")
        self.fuse = Ours(self.dir, self.stratafs, reference, "fuse")
        self.sides = {"overlay": self.native, "erofs": self.erofs, "fuse": self.fuse}
        return self

    def __exit__(self, *_):
        self.stack.close()

    def client(self, root, what, files=None, pid=None):
        """Does it once; operations a second, and processor seconds with those of the server."""
        paths = "\n".join(self.files if files is None else files)
        before = processor(pid) if pid else 0
        text = subprocess.run([CLIENT, root, what], check=True, text=True, input=paths,
                              stdout=subprocess.PIPE).stdout
        operations, _, took, cpu = text.split()
        served = processor(pid) - before if pid else 0
        return int(operations) / float(took), float(cpu) + served

    def warm(self, what, rounds):
        """The figures of each side, all of them mounted and read once before; they take turns."""
        runs = {name: [] for name in self.sides}
        with contextlib.ExitStack() as stack:
            mounts = {name: stack.enter_context(side.mounted()) for name, side in self.sides.items()}
            for number in range(rounds + 1):
                for name, (root, pid) in mounts.items():
                    figures = self.client(root, what, None, pid)
                    if number:
                        runs[name].append(figures)
        return {name: medians(figures) for name, figures in runs.items()}

    def wait_for_local_data(self):
        """Stays mounted until the data are in a local file; False where they do not come."""
        pattern = os.path.join(self.stratafs.root, "cache", "*.data")
        with self.erofs.mounted():
            until = time.monotonic() + 120
            while not glob.glob(pattern) and time.monotonic() < until:
                time.sleep(0.2)
        with self.erofs.mounted():
            return self.erofs.local

    def without_local_data(self):
        """From now on data come through FUSE: there is no room for them in a local file."""
        for path in glob.glob(os.path.join(self.stratafs.root, "cache", "*.data")):
            os.remove(path)
        used = json.loads(self.stratafs.run("--json", "cache", "ls"))["used"]
        self.erofs.options = ["--cache-limit", str(used * 3 // 2)]


def medians(runs):
    """The median of each figure of several runs."""
    return [statistics.median(values) for values in zip(*runs)]
