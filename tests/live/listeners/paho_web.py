"""Paho for Python over WebSocket: `paho_web.py WS_PORT WSS_PORT CA_FILE` prints `done` when a message has come back on both.

Duty: one round trip per address. Must not: test MQTT. Neighbours: web.rs.
"""

import sys
import threading

import paho.mqtt.client as paho

TIMEOUT_SECS = 15.0


def round_trip(port, ca_file, payload):
    """Subscribes, publishes, and waits for what was published."""
    came = threading.Event()
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, transport="websockets", protocol=paho.MQTTv5)
    client.ws_set_options(path="/mqtt")
    if ca_file:
        client.tls_set(ca_certs=ca_file)
    client.on_connect = lambda *_: client.subscribe("paho/web", qos=1)
    client.on_subscribe = lambda *_: client.publish("paho/web", payload, qos=1)
    client.on_message = lambda _client, _user, message: came.set() if message.payload == payload else None
    client.connect("127.0.0.1", port)
    client.loop_start()
    is_good = came.wait(TIMEOUT_SECS)
    client.disconnect()
    client.loop_stop()
    assert is_good, f"nothing came back from port {port}"


ws_port, wss_port, ca_file = sys.argv[1:]
for port, ca in ((int(ws_port), None), (int(wss_port), ca_file)):
    for size in (3, 70_000, 400_000):
        round_trip(port, ca, b"x" * size)
print("done")
