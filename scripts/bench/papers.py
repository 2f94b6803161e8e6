"""Papers of a broker that speaks TLS: a key and a certificate that vouches for itself. Neighbour: `brokers` asks for them."""

import os
import subprocess

from .failure import CannotStart

CERTIFICATE = "broker.pem"
KEY = "broker.key"

# Said in the report: handshakes are outside the measured window, so it matters to none of the figures.
KIND = "ECDSA P-256 certificate"


def issue(folder):
    """Writes both for 127.0.0.1 into a folder."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"]
    command += ["-keyout", os.path.join(folder, KEY), "-out", os.path.join(folder, CERTIFICATE)]
    try:
        run = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError as reason:
        raise CannotStart("openssl is missing: apt-get install openssl") from reason
    if run.returncode != 0:
        raise CannotStart(f"openssl made no certificate: {run.stderr.strip().splitlines()[-1:]}")
    # Mosquitto reads it when it is not root any more; nobody trusts it beyond this run.
    os.chmod(os.path.join(folder, KEY), 0o644)
