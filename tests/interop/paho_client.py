"""A Paho client whose callbacks are recorded, and a bare socket for what Paho would not send.

Duty: let a check say "wait until this has happened" instead of sleeping. Must not: check anything itself.
Neighbours: paho_suite.py.
"""

import socket
import threading
import time

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

V311 = paho.MQTTv311
V5 = paho.MQTTv5
TIMEOUT_SECS = 15.0
FOREVER_SECS = 0xFFFFFFFF


def properties(packet, **values):
    """The properties of one packet by their names, or None without any."""
    if not values:
        return None
    filled = Properties(getattr(PacketTypes, packet))
    for name, value in values.items():
        setattr(filled, name, value)
    return filled


class Client:
    """One client. What its callbacks were told lies in lists; `wait` waits until they show something."""

    def __init__(self, port, client_id, version=V5, clean=True, keep_alive=60, will=None, reconnects=False, **connect_properties):
        self.changed = threading.Condition()
        self.connects, self.disconnects, self.messages = [], [], []
        self.subscribed, self.unsubscribed, self.published = {}, {}, {}
        self.address = ("127.0.0.1", port, keep_alive)
        self.version = version
        session = {} if version == V5 else {"clean_session": clean}
        self.paho = paho.Client(
            paho.CallbackAPIVersion.VERSION2, client_id=client_id, protocol=version, reconnect_on_failure=reconnects, **session
        )
        self.paho.reconnect_delay_set(0.02, 0.1)
        if will:
            will_properties = will.pop("properties", {})
            self.paho.will_set(**will, properties=properties("WILLMESSAGE", **will_properties))
        self.start = {"clean_start": clean, "properties": properties("CONNECT", **connect_properties)} if version == V5 else {}
        client = self.paho
        client.on_connect = lambda _c, _u, flags, code, props: self.note(self.connects.append, (flags, code, props))
        client.on_disconnect = lambda _c, _u, _flags, code, _props: self.note(self.disconnects.append, code.value)
        client.on_message = lambda _c, _u, message: self.note(self.messages.append, message)
        client.on_subscribe = lambda _c, _u, mid, codes, _p: self.note(self.subscribed.__setitem__, mid, codes)
        client.on_unsubscribe = lambda _c, _u, mid, codes, _p: self.note(self.unsubscribed.__setitem__, mid, codes)
        client.on_publish = lambda _c, _u, mid, code, _p: self.note(self.published.__setitem__, mid, code)

    def note(self, put, *values):
        with self.changed:
            put(*values)
            self.changed.notify_all()

    def wait(self, what, condition, timeout_secs=TIMEOUT_SECS):
        with self.changed:
            assert self.changed.wait_for(condition, timeout_secs), f"{self.paho._client_id} waited in vain for {what}"

    def connect(self):
        """Connects and waits for CONNACK; returns (session present, reason code, properties)."""
        count = len(self.connects)
        self.paho.connect(*self.address, **self.start)
        self.paho.loop_start()
        self.wait("CONNACK", lambda: len(self.connects) > count)
        flags, code, props = self.connects[-1]
        assert code == 0, f"CONNACK {code}"
        return flags.session_present, code, props

    def __enter__(self):
        self.connect()
        return self

    def __exit__(self, *_error):
        self.disconnect()

    def disconnect(self, reason=None, **disconnect_properties):
        """Disconnects in order and waits until the connection has ended."""
        if self.paho.is_connected():
            count = len(self.disconnects)
            props = properties("DISCONNECT", **disconnect_properties)
            # A connection that the broker has just ended counts as connected for a while, but nothing goes out by it.
            if self.paho.disconnect(reasoncode=reason, properties=props) != paho.MQTT_ERR_NO_CONN:
                self.wait("its own disconnect", lambda: len(self.disconnects) > count)
        self.paho.loop_stop()

    def break_off(self):
        """Ends the connection without DISCONNECT, as a lost network does."""
        try:
            self.paho.socket().shutdown(socket.SHUT_RDWR)
        except (AttributeError, OSError):
            pass  # it is reconnecting just now: broken off enough

    def subscribe(self, filters, qos=2, **subscribe_properties):
        """Subscribes and waits for SUBACK; returns the reason codes."""
        props = properties("SUBSCRIBE", **subscribe_properties)
        if isinstance(filters, str):
            error, mid = self.paho.subscribe(filters, qos=qos, properties=props)
        else:
            error, mid = self.paho.subscribe(filters, properties=props)
        assert error == 0, paho.error_string(error)
        self.wait("SUBACK", lambda: mid in self.subscribed)
        return [code.value for code in self.subscribed[mid]]

    def unsubscribe(self, filters):
        """Unsubscribes and waits for UNSUBACK; returns the reason codes."""
        _, mid = self.paho.unsubscribe(filters)
        self.wait("UNSUBACK", lambda: mid in self.unsubscribed)
        return [code.value for code in self.unsubscribed[mid]]

    def publish(self, topic, payload="", qos=1, retain=False, **publish_properties):
        """Publishes, waits for the acknowledgement if there is one, and returns its reason code."""
        props = properties("PUBLISH", **publish_properties)
        mid = self.paho.publish(topic, payload, qos, retain, props).mid
        if qos == 0:
            return 0
        self.wait(f"the acknowledgement of {payload!r}", lambda: mid in self.published)
        return self.published[mid].value

    def payloads(self):
        with self.changed:
            return [message.payload.decode() for message in self.messages]

    def expect(self, payloads):
        """Waits for as many messages as are expected and compares all that came, in order."""
        payloads = list(payloads)
        try:
            self.wait(f"{len(payloads)} messages", lambda: len(self.messages) >= len(payloads))
        except AssertionError as error:
            raise AssertionError(f"{error}; it got {len(self.messages)}: {self.payloads()[:20]}") from None
        found = self.payloads()
        assert found == payloads, f"{len(found)} came: {found[:20]}; {len(payloads)} expected: {payloads[:20]}"


class RawClient:
    """A bare socket that has sent what it was told."""

    def __init__(self, port, hex_bytes):
        self.socket = socket.create_connection(("127.0.0.1", port), TIMEOUT_SECS)
        self.send(hex_bytes)

    @classmethod
    def connected(cls, port, client_id):
        """A 5.0 client whose CONNACK has come. Paho overlooks the reason in the short form of DISCONNECT; this does not."""
        name = client_id.encode().hex()
        raw = cls(port, f"10 {13 + len(client_id):02x} 0004 4d515454 05 02 003c 00 {len(client_id):04x} {name}")
        connack = raw.packet()
        assert connack[0] == 0x20 and connack[3] == 0, connack.hex()
        return raw

    def send(self, hex_bytes):
        self.socket.sendall(bytes.fromhex(hex_bytes))

    def packet(self):
        """The next packet, header and body, or nothing when the connection has ended. Bodies here are short."""
        header = self.exactly(2)
        return header + self.exactly(header[1]) if header else b""

    def exactly(self, count):
        found = b""
        while len(found) < count:
            try:
                more = self.socket.recv(count - len(found))
            except ConnectionError:
                return b""
            if not more:
                return b""
            found += more
        return found

    def expect_disconnect(self, reason):
        """Waits for DISCONNECT with that reason and for the end of the connection."""
        packet = self.packet()
        found = packet[2] if packet[:1] == b"\xe0" and len(packet) > 2 else None
        assert found == reason, f"DISCONNECT {reason:#x} was expected, {packet.hex() or 'the end'} came"
        assert self.packet() == b"", "the connection stays open"

    def close(self):
        self.socket.close()


def seconds_of(action):
    """How long an action takes."""
    began = time.monotonic()
    action()
    return time.monotonic() - began
