"""A web server that says who may come, as its users might write one with Python's own library.

    python3 authenticator.py ADDRESS PORT LOG [--tls CERTIFICATE KEY]

Prints its port when it listens; PORT 0 takes a free one. LOG has a line for each question. What it answers depends on the user name.
"""

import json
import ssl
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LOG = open(sys.argv[3], "a", buffering=1)

ANSWERS = {
    "alice": {"allow": True},
    "renamed": {"allow": True, "user": "bob"},
    "limited": {"allow": True, "publish": ["dev/%c/#"], "subscribe": ["home/%u/#"]},
    "refused": {"allow": False},
    "odd": {"allow": "yes"},
    "long": {"allow": True, "padding": "x" * 100_000},
}
STATUS = {"forbidden": 403, "missing": 404, "broken": 500, "moved": 302, "created": 201}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        LOG.write(json.dumps(question) + "\n")
        user = question["user"]
        if user == "hanging":
            threading.Event().wait()
        if user == "text":
            return self.answer(200, b"allow: true")
        if user in STATUS:
            return self.answer(STATUS[user], b'{"allow": true}')
        answer = ANSWERS.get(user, {"allow": False})
        if user == "alice" and question.get("password") != "secret":
            answer = {"allow": False}
        self.answer(200, json.dumps(answer).encode())

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if status == 302:
            self.send_header("Location", "/elsewhere")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True


server = Server((sys.argv[1], int(sys.argv[2])), Handler)
if "--tls" in sys.argv:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*sys.argv[sys.argv.index("--tls") + 1 :][:2])
    server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_address[1], flush=True)
server.serve_forever()
