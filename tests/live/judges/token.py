"""Makes a JSON Web Token with Python's own library and openssl, none of which the broker has.

    python3 token.py ALGORITHM KEYFILE CLAIMS [KEY_ID]

CLAIMS is JSON; `exp` and `nbf` are seconds from now. ALGORITHM `none` signs nothing; `HS256:PEM` uses the key file, whatever it is, as a
secret.
"""

import base64
import hashlib
import hmac
import json
import subprocess
import sys
import time


def encoded(part: bytes) -> bytes:
    return base64.urlsafe_b64encode(part).rstrip(b"=")


def raw_signature(der: bytes, size: int) -> bytes:
    """Both numbers of an ECDSA signature, without their DER."""
    numbers, at = [], 2
    for _ in range(2):
        length = der[at + 1]
        numbers.append(int.from_bytes(der[at + 2 : at + 2 + length], "big").to_bytes(size, "big"))
        at += 2 + length
    return b"".join(numbers)


def signature(algorithm: str, key_file: str, message: bytes) -> bytes:
    if algorithm == "none":
        return b""
    digest = "sha" + algorithm[2:5]
    if algorithm.startswith("HS"):
        secret = open(key_file, "rb").read()
        return hmac.new(secret if algorithm.endswith(":PEM") else secret.rstrip(b"\n"), message, getattr(hashlib, digest)).digest()
    command = ["openssl", "dgst", f"-{digest}", "-sign", key_file]
    if algorithm.startswith("PS"):
        command += ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"]
    made = subprocess.run(command, input=message, capture_output=True, check=True).stdout
    return raw_signature(made, {"256": 32, "384": 48}[algorithm[2:5]]) if algorithm.startswith("ES") else made


def main() -> None:
    algorithm, key_file, claims = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    header = {"alg": algorithm.split(":")[0], "typ": "JWT"}
    if len(sys.argv) > 4:
        header["kid"] = sys.argv[4]
    for moment in ("exp", "nbf"):
        if isinstance(claims.get(moment), int):
            claims[moment] += int(time.time())
    message = b".".join(encoded(json.dumps(part).encode()) for part in (header, claims))
    print((message + b"." + encoded(signature(algorithm, key_file, message))).decode())


main()
