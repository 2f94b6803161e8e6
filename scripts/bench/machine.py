"""Facts about the machine, the programs and the source, as pairs of name and text. Must not start a broker for long."""

import datetime
import os
import platform
import re
import resource
import subprocess

FILES_WANTED = 65536
FILES_FOR_CONNECT = 10100


def facts(root, paths, labels, peers, command):
    pairs = [("Date", datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"))]
    pairs += [("Command", command), ("CPU", f"{os.cpu_count()} x {cpu_model()}"), ("Governor", governor()), ("Memory", memory())]
    pairs += [("Kernel", f"{platform.system()} {platform.release()}"), ("Load average before", "%.2f" % os.getloadavg()[0])]
    pairs += [("ringmq commit", commit(root)), ("rustc", output_of("rustc", "--version", cwd=root))]
    if any(label.startswith("ringmq") for label in labels):
        pairs.append(("ringmq", output_of(paths["ringmq"], "--version")))
    if "mosquitto" in labels:
        pairs.append(("Mosquitto", output_of(paths["mosquitto"], "-h", codes=(0, 1, 3)).partition("\n")[0]))
    pairs += [(peer.label, peer.command) for peer in peers]
    pairs.append(("Generator", output_of(paths["loadgen"], "--version")))
    return [(name, text) for name, text in pairs if text]


def cpu_model():
    found = re.search(r"model name\s*:\s*(.+)", read("/proc/cpuinfo"))
    return found.group(1).strip() if found else platform.machine()


def governor():
    """Empty where the machine does not say, such as in most guests."""
    return read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").strip()


def memory():
    found = re.search(r"MemTotal:\s*(\d+) kB", read("/proc/meminfo"))
    return f"{int(found.group(1)) / (1 << 20):.1f} GiB" if found else ""


def commit(root):
    """Empty outside a checkout."""
    number = output_of("git", "rev-parse", "--short=10", "HEAD", cwd=root)
    changed = output_of("git", "status", "--porcelain", "--", "src", "loadgen", "Cargo.toml", "Cargo.lock", cwd=root)
    return number + (", with changes that are not committed" if number and changed else "")


def read(path):
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


def output_of(*command, codes=(0,), cwd=None):
    """What a command prints; empty if it ends with another exit code than these, or does not exist."""
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=10, cwd=cwd)
        return run.stdout.strip() if run.returncode in codes else ""
    except (OSError, subprocess.TimeoutExpired):
        return ""


def raise_file_limit():
    """Lets what is started from here open 10,000 connections; returns what is allowed now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limits in ((FILES_WANTED, max(hard, FILES_WANTED)), (min(FILES_WANTED, hard), hard)):
        if soft >= FILES_WANTED:
            break
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            break
        except (ValueError, OSError):
            continue
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
