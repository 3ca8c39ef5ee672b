"""What the benchmarks share: turns, medians, the table, and the program with its mounts."""

import contextlib
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time

TOP = os.path.realpath(os.path.join(os.path.dirname(__file__), "../.."))
PROGRAM = os.environ.get("STRATAFS", os.path.join(TOP, "target/release/stratafs"))


def image(name):
    """The folder of an image of scripts/images."""
    return subprocess.run([os.path.join(TOP, "scripts/images"), name], check=True, text=True,
                          stdout=subprocess.PIPE).stdout.strip()


def seconds(act):
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def medians(rounds, **acts):
    """The median time of each act, in seconds; they take turns, after one round that is not counted."""
    times = {name: [] for name in acts}
    for number in range(rounds + 1):
        for name, act in acts.items():
            took = seconds(act)
            if number:
                times[name].append(took)
    return {name: statistics.median(values) for name, values in times.items()}


def shell(command, **variables):
    subprocess.run(["sh", "-c", command], check=True, env={**os.environ, **variables})


def row(what, value, wanted, is_met):
    print(f"{'  ' if is_met else '! '}{what:<58} {value:>12}   {wanted}", flush=True)


def ratio(what, value, least):
    row(what, f"{value:.2f}", f"at least {least}", value >= least)


class Stratafs:
    """The program with a state root of its own, deleted in the end."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="stratafs-bench.")
        self.root = os.path.join(self.dir, "root")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for mount in self.mounts():
            self.run("umount", "--lazy", mount["target"])
        shutil.rmtree(self.dir)

    def run(self, *args):
        command = [PROGRAM, "--root", self.root, "--no-progress", *args]
        return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout

    def mounts(self):
        return json.loads(self.run("--json", "mounts"))

    @contextlib.contextmanager
    def mounted(self, image):
        """The folder that `image` is mounted on, and the process that serves it."""
        target = tempfile.mkdtemp(dir=self.dir)
        self.run("mount", image, target)
        (pid,) = [mount["pid"] for mount in self.mounts() if mount["target"] == target]
        try:
            yield target, pid
        finally:
            # Another mount namespace may hold it a while longer.
            self.run("umount", "--lazy", target)
            os.rmdir(target)


def resident(pid):
    """Resident memory of a process that is its own, in MiB: mapped files can be dropped any time."""
    with open(f"/proc/{pid}/status") as file:
        fields = dict(line.split(":", 1) for line in file)
    return int(fields["VmRSS"].split()[0]) / 1024, int(fields["RssAnon"].split()[0]) / 1024


def bytes_read(pid):
    with open(f"/proc/{pid}/io") as file:
        return int(dict(line.split(": ") for line in file)["rchar"])
