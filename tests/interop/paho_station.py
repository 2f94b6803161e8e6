"""Paho for Python as a station of the matrix: `paho_station.py PORT`, lines on stdin, answers on stdout.

Duty: carry out each line with Paho alone. Must not: check anything. Neighbours: station.rs says the words; features.rs uses
them.
"""

import socket
import sys
import threading

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

PORT = int(sys.argv[1])
WRITING = threading.Lock()
# A letter at each place of a made payload, as station.rs makes it.
LETTERS = bytes(ord("a") + at * 31 % 251 % 26 for at in range(251))


def answer(*words):
    with WRITING:
        print(*words, flush=True)


def payload_of(text):
    if not text.startswith("*"):
        return text
    length = int(text[1:])
    return (LETTERS * (length // len(LETTERS) + 1))[:length]


def text_of(payload):
    is_made = len(payload) >= 1000 and payload == payload_of(f"*{len(payload)}")
    return f"*{len(payload)}" if is_made else payload.decode()


def properties(packet, **values):
    filled = Properties(getattr(PacketTypes, packet))
    for name, value in values.items():
        if value:
            setattr(filled, name, value)
    return filled


class Guest:
    def __init__(self, name, words):
        self.name, self.words, self.aliases, self.held = name, words, {}, []
        self.count, self.is_v5 = int(words.get("count", 0)), words["version"] == "5"
        self.came = 0
        is_clean = words.get("clean") != "0"
        session = {} if self.is_v5 else {"clean_session": is_clean}
        self.paho = paho.Client(
            paho.CallbackAPIVersion.VERSION2, client_id=name, protocol=paho.MQTTv5 if self.is_v5 else paho.MQTTv311,
            reconnect_on_failure=False, manual_ack="hold" in words, **session,
        )
        if "will" in words:
            will_properties = properties("WILLMESSAGE", WillDelayInterval=int(words.get("will_delay", 0))) if self.is_v5 else None
            self.paho.will_set(words["will"], "gone", 1, properties=will_properties)
        self.paho.on_connect = lambda _c, _u, _f, code, _p: answer(name, "connected" if code == 0 else f"error {code}")
        self.paho.on_disconnect = lambda *_: answer(name, "ended")
        self.paho.on_subscribe = lambda *_: answer(name, "subscribed")
        self.paho.on_publish = lambda *_: answer(name, "published")
        self.paho.on_message = self.on_message
        start = {}
        if self.is_v5:
            start = {"clean_start": is_clean, "properties": properties(
                "CONNECT", SessionExpiryInterval=int(words.get("expiry", 0)), ReceiveMaximum=int(words.get("receive_max", 0)),
                TopicAliasMaximum=int(words.get("alias_max", 0)))}
        self.paho.connect("127.0.0.1", PORT, 60, **start)
        self.paho.loop_start()

    def on_message(self, _client, _user, message):
        if "hold" in self.words:
            self.held.append((message.mid, message.qos))
        if self.came < self.count:
            if message.payload != str(self.came).encode():
                answer(self.name, f"error {message.payload} came as number {self.came}")
            self.came += 1
            if self.came == self.count:
                answer(self.name, "counted")
            return
        found = message.properties.json() if self.is_v5 else {}
        # Paho hands on a topic alias as it came: to follow it is left to the application.
        alias, topic = found.get("TopicAlias", ""), message.topic
        if alias:
            topic = self.aliases[alias] = topic or self.aliases[alias]
        sid = ",".join(map(str, found.get("SubscriptionIdentifier", [])))
        user = " ".join(f"{key}:{value}" for key, value in found.get("UserProperty", []))
        answer(
            self.name, f"message qos={message.qos} retain={int(message.retain)} alias={alias} sid={sid}",
            f"expiry={found.get('MessageExpiryInterval', '')} topic={topic} text={text_of(message.payload)} user={user}",
        )

    def subscribe(self, words):
        qos = int(words["qos"])
        if not self.is_v5:
            self.paho.subscribe(words["filter"], qos)
            return
        options = SubscribeOptions(qos, noLocal="nl" in words, retainAsPublished="rap" in words)
        self.paho.subscribe(words["filter"], options=options, properties=properties("SUBSCRIBE", SubscriptionIdentifier=int(words.get("sid", 0))))

    def publish(self, words):
        repeat, alias = int(words.get("repeat", 1)), int(words.get("alias", 0))
        for number in range(repeat):
            text = words["text"] + (str(number) if "repeat" in words else "")
            topic = "" if alias and number else words["topic"]
            user = [tuple(pair.split(":")) for pair in words.get("user", "").split(",") if pair]
            given = properties("PUBLISH", MessageExpiryInterval=int(words.get("expiry", 0)), TopicAlias=alias) if self.is_v5 else None
            if user:
                given.UserProperty = user
            self.paho.publish(topic, payload_of(text), int(words["qos"]), "retain" in words, given)

    def ack(self, _words):
        for mid, qos in self.held:
            self.paho.ack(mid, qos)
        self.held = []

    def disconnect(self, _words):
        self.paho.disconnect()
        self.paho.loop_stop()

    def break_off(self, _words):
        # The loop ends by itself once it has read the end. loop_stop() could end it before, and then nobody says "ended".
        self.paho.socket().shutdown(socket.SHUT_RDWR)


def main():
    guests = {}
    for line in sys.stdin:
        verb, name, *rest = line.split()
        words = dict(word.split("=", 1) for word in rest)
        try:
            if verb == "connect":
                guests[name] = Guest(name, words)
            else:
                getattr(guests[name], "break_off" if verb == "break" else verb)(words)
        except Exception as error:  # the other side shows it with the client that it belongs to
            answer(name, f"error {error!r}")


main()
