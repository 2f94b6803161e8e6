"""MQTT.js in a page of a real headless Chromium: `python run.py RINGMQ MQTT_JS_FOLDER [CHROMIUM]`, with Paho in the path.

Duty: a broker with ws:// and wss:// listeners that know the page's origin, a server for page.html, Chromium; what the page
says it saw, and what a client over TCP saw of the page, its wills among it. Must not: speak WebSocket. Neighbours: page.html;
`scripts/soak browser` runs it. Exit codes: 0 all held, 1 something did not, 2 it could not start.
"""

import base64
import hashlib
import html
import http.server
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

import paho.mqtt.client as paho

FOLDER = os.path.dirname(os.path.abspath(__file__))
SECS_MAX = 120
WILL_SECS_MAX = 20
NAMES = [f"{carrier}-{version}" for carrier in ("ws", "wss") for version in ("3.1.1", "5.0")]

CONFIG = """\
allow_anonymous true
listener {mqtt} 127.0.0.1
listener {ws} 127.0.0.1
protocol websockets
websockets_origin http://127.0.0.1:{http}
listener {wss} 127.0.0.1
protocol websockets
websockets_origin http://127.0.0.1:{http}
certfile {folder}/broker.pem
keyfile {folder}/broker.key
"""

# As root there is no sandbox, and a fresh profile has nothing of its own to fetch.
CHROMIUM_FLAGS = [
    "--headless=new", "--dump-dom", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--no-proxy-server",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
]


def leave(why):
    print(f"browser: {why}", file=sys.stderr)
    sys.exit(2)


def find_chromium(named):
    found = shutil.which(named or "chromium")
    if not found:
        leave("Chromium is missing; install with: apt-get update && apt-get install --no-install-recommends chromium")
    return found


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def issue(folder):
    """A certificate of its own authority; what Chromium is told to trust: the hash of its key and no other."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    command += ["-keyout", f"{folder}/broker.key", "-out", f"{folder}/broker.pem"]
    subprocess.run(command, check=True, capture_output=True)
    key = subprocess.run(["openssl", "pkey", "-in", f"{folder}/broker.key", "-pubout", "-outform", "DER"], check=True, capture_output=True)
    return base64.b64encode(hashlib.sha256(key.stdout).digest()).decode()


class Broker:
    """Runs inside a `with` block; `log` is all that it said."""

    def __init__(self, program, folder, ports):
        self.config = os.path.join(folder, "mosquitto.conf")
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(CONFIG.format(folder=folder, **ports))
        self.log, self.port = os.path.join(folder, "log"), ports["mqtt"]
        self.program = program

    def __enter__(self):
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen([self.program, "-c", self.config, "-v"], stdout=log, stderr=log)
        end = time.monotonic() + SECS_MAX
        while time.monotonic() < end and self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return self
            except OSError:
                time.sleep(0.02)
        self.__exit__()
        leave(f"the broker did not start: {self.said()}")

    def said(self):
        with open(self.log, encoding="utf-8", errors="replace") as file:
            return file.read()

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


class Site:
    """Serves the page and MQTT.js. What the page waits for with `hold` comes when it says `done`."""

    def __init__(self, library, port):
        files = {"/page.html": (os.path.join(FOLDER, "page.html"), "text/html"), "/mqtt.min.js": (library, "text/javascript")}
        self.is_done = threading.Event()
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                path, kind = files.get(urllib.parse.urlsplit(self.path).path, (None, "text/plain"))
                if self.path == "/hold":
                    site.is_done.wait(SECS_MAX)
                body = b""
                if path:
                    with open(path, "rb") as file:
                        body = file.read()
                self.send_response(200 if path else 404)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self):
                self.send_response(204)
                self.end_headers()
                site.is_done.set()

            def log_message(self, *_):
                pass

        self.port = port
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def visit(self, chromium, trusted, host, addresses):
        """What the page at this host says; the browser has closed it by then."""
        self.is_done.clear()
        url = f"http://{host}:{self.port}/page.html?{urllib.parse.urlencode(addresses)}"
        with tempfile.TemporaryDirectory(prefix="ringmq-chromium-", ignore_cleanup_errors=True) as profile:
            flags = CHROMIUM_FLAGS + [f"--user-data-dir={profile}", f"--ignore-certificate-errors-spki-list={trusted}"]
            flags += ["--no-sandbox"] if os.geteuid() == 0 else []
            run = subprocess.run([chromium, *flags, url], capture_output=True, text=True, timeout=SECS_MAX, stdin=subprocess.DEVNULL)
        told = re.search(r'<pre id="told">(.*?)</pre>', run.stdout, re.DOTALL)
        lines = html.unescape(told.group(1)).splitlines() if told else []
        if "# done" not in lines:
            print(run.stderr[-2000:], file=sys.stderr)
            lines.append("not ok: the page did not come to its end")
        return [line for line in lines if not line.startswith("#")]


class Observer:
    """A client over TCP: retains what the page is to find, and notes what the page publishes."""

    def __init__(self, port):
        self.came, self.changed = {}, threading.Condition()
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id="observer", protocol=paho.MQTTv5)
        self.client.on_message = self.note
        is_subscribed = threading.Event()
        self.client.on_subscribe = lambda *_: is_subscribed.set()
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        for name in NAMES:
            self.client.publish(f"browser/{name}/kept", f"kept for {name}", qos=1, retain=True).wait_for_publish(SECS_MAX)
        self.client.subscribe("browser/+/+", qos=2)
        if not is_subscribed.wait(SECS_MAX):
            leave("no SUBACK for the observer")

    def note(self, _client, _data, message):
        with self.changed:
            self.came[message.topic] = (len(message.payload), message.qos)
            self.changed.notify_all()

    def has(self, topic, secs):
        with self.changed:
            return self.changed.wait_for(lambda: topic in self.came, secs)

    def checks(self):
        for name in NAMES:
            expected = {"qos0": (4, 0), "qos1": (3, 1), "qos2": (3, 2), "big": (1 << 20, 1)}
            seen = {topic: self.came.get(f"browser/{name}/{topic}") for topic in expected}
            yield f"{name}: a client over TCP gets what the page publishes", seen == expected, seen
            yield f"{name}: the will comes when the page is closed", self.has(f"browser/{name}/will", WILL_SECS_MAX), "nothing"


def checked(what, is_good, seen):
    return f"ok {what}" if is_good else f"not ok {what}: {seen}"


def play(program, library, chromium, folder):
    """One line for each check."""
    ports = dict(zip(("mqtt", "ws", "wss", "http"), free_ports(4)))
    trusted = issue(folder)
    with Broker(program, folder, ports) as broker:
        observer = Observer(ports["mqtt"])
        site = Site(library, ports["http"])
        ws, wss = f"ws://127.0.0.1:{ports['ws']}/mqtt", f"wss://localhost:{ports['wss']}/mqtt"
        began = time.monotonic()
        yield from site.visit(chromium, trusted, "127.0.0.1", [("ws", ws), ("wss", wss)])
        yield from (checked(*check) for check in observer.checks())
        # The same page under another name is another origin.
        yield from site.visit(chromium, trusted, "localhost", [("foreign", ws), ("foreign", wss)])
        refusals = broker.said().count("pages of this origin may not connect")
        yield checked("the log says why, for each of both", refusals == 2, f"{refusals} times in:\n{broker.said()}")
        print(f"# {time.monotonic() - began:.1f} s, in which Chromium was started twice")
        yield checked("the broker lives on", broker.process.poll() is None, broker.process.poll())


def main():
    if len(sys.argv) not in (3, 4):
        leave(__doc__.splitlines()[0])
    program, module = sys.argv[1:3]
    chromium = find_chromium(sys.argv[3] if len(sys.argv) == 4 else os.environ.get("CHROMIUM"))
    library = os.path.join(module, "dist/mqtt.min.js")
    if not os.path.exists(library):
        leave(f"{library} is missing: run `scripts/test setup`")
    with open(os.path.join(module, "package.json"), encoding="utf-8") as file:
        version = json.load(file)["version"]
    browser = subprocess.run([chromium, "--version"], capture_output=True, text=True).stdout.split()[:2]
    lines = []
    with tempfile.TemporaryDirectory(prefix="ringmq-browser-") as folder:
        os.chmod(folder, 0o755)
        for line in play(program, library, chromium, folder):
            print(line, flush=True)
            lines.append(line)
    failed = sum(line.startswith("not ok") for line in lines)
    print(f"{len(lines)} checks by MQTT.js {version} in {' '.join(browser)}, {failed} failed")
    sys.exit(1 if failed or not lines else 0)


if __name__ == "__main__":
    main()
