"""Where the programs are, and building those that are not there. Must not start a broker. Neighbour: `brokers` starts them."""

import json
import os
import shutil
import subprocess

from .brokers import FLOOR
from .failure import CannotStart

BUILT = {"ringmq": "release/ringmq", "loadgen": "release/ringmq-loadgen"}
# Debian keeps daemons off a user's PATH.
DAEMON_FOLDERS = ":/usr/sbin:/usr/local/sbin"


def find(root, names, warn):
    """Paths of what will be started. CannotStart where something is missing that cannot be built here."""
    # Where cargo builds, so that what was built is what is measured.
    target = os.environ.get("CARGO_TARGET_DIR") or os.path.join(root, "target")
    paths = {name: os.environ.get(name.upper()) or os.path.join(target, path) for name, path in BUILT.items()}
    needed = [name for name in BUILT if name == "loadgen" or name in names]
    build_if_missing(root, [paths[name] for name in needed if not os.environ.get(name.upper())], warn)
    for name in needed:
        if not os.access(paths[name], os.X_OK):
            raise CannotStart(f"{paths[name]} is no program")
    if "mosquitto" in names:
        paths["mosquitto"] = find_mosquitto()
    if FLOOR in names:
        paths[FLOOR] = os.environ.get("FLOOR") or build_floor(root, warn)
    if not shutil.which("taskset"):
        raise CannotStart("taskset is missing: apt-get install util-linux")
    return {name: os.path.abspath(path) for name, path in paths.items()}


def find_mosquitto():
    found = shutil.which(os.environ.get("MOSQUITTO", "mosquitto"), path=os.environ.get("PATH", "") + DAEMON_FOLDERS)
    if not found:
        raise CannotStart("Mosquitto is missing: apt-get install mosquitto (or MOSQUITTO=path, or --only ringmq)")
    return found


def build_floor(root, warn):
    """Cargo alone knows the name of a bench's program, and whether it is up to date."""
    if not shutil.which("cargo"):
        raise CannotStart("the floor is built by cargo, which is missing: see https://rustup.rs (or FLOOR=path)")
    warn("building: cargo build --release -p ringmq-benches --bench floor")
    command = ["cargo", "build", "--release", "-p", "ringmq-benches", "--bench", "floor", "--message-format=json-render-diagnostics"]
    run = subprocess.run(command, cwd=root, stdout=subprocess.PIPE, text=True)
    made = [message for message in map(json.loads, run.stdout.splitlines()) if message.get("executable")]
    found = [message["executable"] for message in made if message["target"]["name"] == FLOOR]
    if run.returncode != 0 or not found:
        raise CannotStart("cargo build --release -p ringmq-benches --bench floor failed")
    return found[-1]


def build_if_missing(root, paths, warn):
    """Builds if one of `paths` is not there or older than the source, so that nobody measures last week's broker."""
    newest = newest_source(root)
    if all(os.access(path, os.X_OK) and os.path.getmtime(path) >= newest for path in paths):
        return
    if not shutil.which("cargo"):
        missing = [path for path in paths if not os.access(path, os.X_OK)]
        if missing:
            raise CannotStart(f"{missing[0]} is missing, and so is cargo to build it: see https://rustup.rs")
        warn("target/release is older than the source, and there is no cargo to build it")
        return
    warn("building: cargo build --release --workspace")
    if subprocess.run(["cargo", "build", "--release", "--workspace"], cwd=root, stdout=subprocess.DEVNULL).returncode != 0:
        raise CannotStart("cargo build --release --workspace failed")


def newest_source(root):
    """Modification time of the newest file that the programs are built from."""
    times = [0.0]
    for folder in ("src", "loadgen/src", "loadgen/scenarios"):
        for place, _, names in os.walk(os.path.join(root, folder)):
            times += [os.path.getmtime(os.path.join(place, name)) for name in names]
    return max(times)
