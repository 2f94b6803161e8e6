"""Checks through Paho for Python: `paho_suite.py PORT`. Each check prints one line, `ok` or `not ok`.

Duty: what the Mosquitto clients cannot say: reason codes, session present, options of a subscription, reconnects in the
middle of QoS 2, timing. Must not: sleep where an event can be awaited, or share ids or topics between checks, which run
side by side. Neighbours: paho_client.py; libraries.rs runs this file against 1, 2 and 4 shards.
"""

import concurrent.futures
import random
import sys
import threading
import time
import traceback

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from paho_client import FOREVER_SECS, V5, V311, Client, RawClient, seconds_of

PORT = int(sys.argv[1])
PARALLEL = 6
CHECKS = []

# Checks that mostly wait for the clock start first.
SLOW = ("session_ends", "silent", "delay", "pinging", "exactly_once")

NO_MATCHING_SUBSCRIBERS = 0x10
NO_SUBSCRIPTION_EXISTED = 0x11
KEEP_ALIVE_TIMEOUT = 0x8D
SESSION_TAKEN_OVER = 0x8E
TOPIC_FILTER_INVALID = 0x8F
TOPIC_ALIAS_INVALID = 0x94


def check(function):
    CHECKS.append(function)
    return function


def client(client_id, *arguments, **named):
    return Client(PORT, client_id, *arguments, **named)


@check
def every_qos_between_all_versions_and_shards():
    readers = [client(f"rt-r{n}", [V311, V5][n % 2]) for n in range(6)]
    writers = [client(f"rt-w{n}", [V311, V5][n % 2]) for n in range(4)]
    expected = []
    for each in readers + writers:
        each.connect()
    for reader in readers:
        assert reader.subscribe("rt/+/x") == [2]
    for writer in writers:
        for qos in (0, 1, 2):
            payload = f"{writer.paho._client_id.decode()} {qos}"
            writer.publish("rt/é/x", payload, qos)
            expected.append((payload, qos))
    for reader in readers:
        reader.wait("all messages", lambda reader=reader: len(reader.messages) >= len(expected))
        found = [(message.payload.decode(), message.qos) for message in reader.messages]
        assert sorted(found) == sorted(expected), found
    for each in readers + writers:
        each.disconnect()


@check
def an_empty_client_id_is_assigned_one():
    """[MQTT-3.1.3-6], [MQTT-3.1.3-7]; 3.1.1 refuses it for a session that is to stay [MQTT-3.1.3-8]."""
    names = set()
    for _ in range(4):
        with client("") as anonymous:
            names.add(anonymous.connects[0][2].AssignedClientIdentifier)
    assert len(names) == 4 and all(names), names
    with client("given") as named:
        assert not hasattr(named.connects[0][2], "AssignedClientIdentifier")
    with client("", V311):
        pass
    refused = RawClient(PORT, "100c 0004 4d515454 04 00 003c 0000")
    assert refused.packet() == bytes.fromhex("20020002")
    assert refused.packet() == b"", "the refused connection stays open"


@check
def session_present_tells_the_truth():
    """[MQTT-3.2.2-2], [MQTT-3.2.2-3]."""
    for version, stay in ((V311, {}), (V5, {"SessionExpiryInterval": 60})):
        for number in range(4):
            name = f"sp-{number}-{version}"
            for clean, present in ((False, False), (False, True), (True, False), (False, version == V5)):
                guest = client(name, version, clean, **stay)
                found, _, _ = guest.connect()
                assert found == present, f"{name}, clean {clean}: session present {found}"
                guest.disconnect()
    with client("sp-short") as short:
        short.subscribe("sp/x")
    again = client("sp-short", clean=False)
    assert again.connect()[0] is False, "a session without an expiry interval outlived its connection"
    again.disconnect()


@check
def publishers_hear_whether_anyone_was_there():
    """PUBACK and PUBREC 0x10 only when no shard has a subscriber (sections 3.4.2.1, 3.5.2.1)."""
    raw = RawClient.connected(PORT, "nm-raw")

    def pubrec_code():
        raw.send("3409 0004 6e6d2f78 0001 00")
        pubrec = raw.packet()
        raw.send("62020001")
        assert pubrec[0] == 0x50 and raw.packet()[0] == 0x70
        return pubrec[4] if len(pubrec) > 4 else 0

    with client("nm-w0") as first, client("nm-w1") as second, client("nm-w2") as third:
        writers = (first, second, third)
        assert [writer.publish("nm/x", "x", 1) for writer in writers] == [NO_MATCHING_SUBSCRIBERS] * 3
        assert pubrec_code() == NO_MATCHING_SUBSCRIBERS
        with client("nm-r") as reader:
            reader.subscribe("nm/+")
            assert [writer.publish("nm/x", "x", 1) for writer in writers] == [0, 0, 0]
            assert pubrec_code() == 0
            assert reader.unsubscribe("nm/+") == [0]
            assert [writer.publish("nm/x", "x", 1) for writer in writers] == [NO_MATCHING_SUBSCRIBERS] * 3
    raw.close()


@check
def subscribe_and_unsubscribe_answer_for_each_filter():
    """[MQTT-3.8.4-6], [MQTT-3.11.3-2]; 3.1.1 answers too."""
    for version in (V311, V5):
        with client(f"sa-{version}", version) as reader:
            filters = [("sa/0", 0), ("sa/1", 1), ("sa/#", 2)]
            if version == V5:
                filters = [(name, SubscribeOptions(qos)) for name, qos in filters]
            assert reader.subscribe(filters) == [0, 1, 2]
            codes = reader.unsubscribe(["sa/0", "sa/none"])
            assert version == V311 or codes == [0, NO_SUBSCRIPTION_EXISTED], codes
    wrong = RawClient.connected(PORT, "sa-wrong")
    wrong.send("820b 0001 00 0005 612f232f62 02")
    answer = wrong.packet()
    is_refused = answer[:1] == b"\x90" and answer[-1] == TOPIC_FILTER_INVALID
    assert is_refused or answer[:1] == b"\xe0", f"a/#/b was answered by {answer.hex()}"
    wrong.close()


@check
def an_unsubscribed_filter_delivers_no_more():
    """[MQTT-3.10.4-2]."""
    with client("un-r") as reader, client("un-w") as writer:
        reader.subscribe("un/a")
        reader.subscribe("un/end")
        writer.publish("un/a", "before")
        reader.unsubscribe("un/a")
        writer.publish("un/a", "after")
        writer.publish("un/end", "end")
        reader.expect(["before", "end"])


@check
def suback_means_subscribed_on_every_shard():
    """A publish that begins after SUBACK reaches the subscriber, whichever shards the two live on."""
    readers = [client(f"sb-r{n}") for n in range(5)]
    writers = [client(f"sb-w{n}") for n in range(5)]
    for each in readers + writers:
        each.connect()
    for round_number in range(8):
        for number, reader in enumerate(readers):
            for other, writer in enumerate(writers):
                topic = f"sb/{round_number}/{number}/{other}"
                reader.subscribe(topic, qos=0)
                writer.publish(topic, topic, qos=0)
    for number, reader in enumerate(readers):
        reader.wait("all topics", lambda reader=reader: len(reader.messages) >= 40)
        expected = {f"sb/{round_number}/{number}/{other}" for round_number in range(8) for other in range(5)}
        assert set(reader.payloads()) == expected and len(reader.messages) == 40
    for each in readers + writers:
        each.disconnect()


@check
def a_second_client_takes_over_and_the_first_is_told():
    """[MQTT-3.1.4-3]: reason 0x8E for 5.0, the connection just ends for 3.1.1."""
    for number in range(6):
        older = client(f"to-{number}", SessionExpiryInterval=60)
        older.connect()
        older.subscribe(f"to/{number}")
        newer = client(f"to-{number}", clean=False, SessionExpiryInterval=60)
        assert newer.connect()[0], "the session did not move to the new connection"
        older.wait("the end", lambda older=older: older.disconnects)
        with client(f"to-w{number}") as writer:
            assert writer.publish(f"to/{number}", "x") == 0
        newer.expect(["x"])
        newest = client(f"to-{number}", V311)
        newest.connect()
        newer.wait("the end", lambda newer=newer: newer.disconnects)
        newest.disconnect()
        older.disconnect()
        newer.disconnect()
        told = RawClient.connected(PORT, f"to-{number}")
        with client(f"to-{number}"):
            told.expect_disconnect(SESSION_TAKEN_OVER)


def exactly_once_through_reconnects(version, count):
    """[MQTT-4.3.3-2] to [MQTT-4.3.3-12], [MQTT-4.4.0-1]: both ends lose their connections again and again."""
    stay = {"SessionExpiryInterval": FOREVER_SECS} if version == V5 else {}
    reader = client(f"eo-r-{version}", version, clean=False, reconnects=True, **stay)
    writer = client(f"eo-w-{version}", version, clean=False, reconnects=True, **stay)
    reader.connect()
    writer.connect()
    reader.subscribe(f"eo/{version}")
    stop = threading.Event()
    chance = random.Random(version)

    def break_off_now_and_then():
        # A client breaks again only once something has come through: Paho forgets where in QoS 2 it was when a second
        # break follows before it has sent its PUBRELs again.
        progress = {reader: 0, writer: 0}
        while not stop.wait(0.02 + chance.random() * 0.06):
            each = chance.choice((reader, writer))
            done = len(each.published) + len(each.messages)
            if done > progress[each]:
                count = len(each.connects)
                each.break_off()
                each.wait("CONNACK", lambda: len(each.connects) > count)
                progress[each] = len(each.published) + len(each.messages)

    breaker = threading.Thread(target=break_off_now_and_then)
    breaker.start()
    try:
        for number in range(count):
            writer.paho.publish(f"eo/{version}", str(number), 2)
            if number % 20 == 0:
                time.sleep(0.02)  # spreads the messages over many connections; nothing is awaited here
        writer.wait("all PUBCOMPs", lambda: len(writer.published) >= count, 30)
    finally:
        stop.set()
        breaker.join()
    writer.publish(f"eo/{version}", "end", 2)
    reader.wait("the end", lambda: "end" in reader.payloads())
    found = sorted(int(payload) for payload in reader.payloads()[:-1])
    breaks = len(reader.disconnects) + len(writer.disconnects)
    assert found == list(range(count)), f"{len(found)} of {count} came, {len(set(found))} different, {breaks} breaks"
    assert breaks > 5, f"the connections broke only {breaks} times"
    reader.disconnect()
    writer.disconnect()


@check
def qos_2_is_exactly_once_through_reconnects_in_5_0():
    exactly_once_through_reconnects(V5, 1000)


@check
def qos_2_is_exactly_once_through_reconnects_in_3_1_1():
    exactly_once_through_reconnects(V311, 1000)


@check
def a_wildcard_replays_a_thousand_retained_messages():
    """[MQTT-3.3.1-6], [MQTT-3.3.1-10]: each once, flag set; after clearing none."""
    count = 1000
    with client("rm-w") as writer:
        pending = [writer.paho.publish(f"rm/{n % 10}/{n}", str(n), 1, True).mid for n in range(count)]
        writer.wait("all PUBACKs", lambda: all(mid in writer.published for mid in pending))
        for number in range(4):
            with client(f"rm-r{number}") as reader:
                reader.subscribe("rm/#", 1)
                reader.wait("all retained", lambda reader=reader: len(reader.messages) >= count)
                assert all(message.retain for message in reader.messages)
                assert sorted(map(int, reader.payloads())) == list(range(count))
            with client(f"rm-s{number}") as reader:
                reader.subscribe("rm/3/+", 0)
                writer.publish("rm/3/end", "end", 1)
                reader.wait("the end", lambda reader=reader: "end" in reader.payloads())
                assert sorted(map(int, reader.payloads()[:-1])) == list(range(3, count, 10))
        pending = [writer.paho.publish(f"rm/{n % 10}/{n}", "", 1, True).mid for n in range(count)]
        writer.wait("all PUBACKs", lambda: all(mid in writer.published for mid in pending))
        with client("rm-late") as reader:
            reader.subscribe("rm/#", 1)
            writer.publish("rm/end", "end")
            reader.expect(["end"])


@check
def retain_handling_decides_about_the_replay():
    """[MQTT-3.3.1-9] to [MQTT-3.3.1-11]: 0 always, 1 only for a new subscription, 2 never."""
    with client("rh-w") as writer:
        writer.publish("rh/x", "kept", 1, True)
        for number in range(3):
            with client(f"rh-{number}") as reader:
                seen = []
                for handling, replays in ((2, 0), (1, 0), (0, 1), (0, 1)):
                    reader.subscribe([("rh/x", SubscribeOptions(1, retainHandling=handling))])
                    seen += ["kept"] * replays
                reader.unsubscribe("rh/x")
                reader.subscribe([("rh/x", SubscribeOptions(1, retainHandling=1))])
                writer.publish("rh/x", "live")
                reader.expect([*seen, "kept", "live"])
        writer.publish("rh/x", "", 1, True)


@check
def no_local_spares_only_the_publisher():
    """[MQTT-3.8.3-3]."""
    with client("nl-a") as one, client("nl-b") as other:
        for each in (one, other):
            each.subscribe([("nl/+", SubscribeOptions(1, noLocal=True)), ("nl-end", SubscribeOptions(1))])
        one.publish("nl/x", "from one")
        other.publish("nl/x", "from other")
        one.publish("nl-end", "end")
        one.expect(["from other", "end"])
        other.expect(["from one", "end"])


@check
def subscription_identifiers_of_overlapping_filters_all_arrive():
    """[MQTT-3.3.4-3], [MQTT-3.3.4-4]: one copy with both, or one copy each."""
    with client("si-r") as reader, client("si-w") as writer:
        reader.subscribe("si/#", 0, SubscriptionIdentifier=1)
        reader.subscribe("si/+", 1, SubscriptionIdentifier=200)
        writer.publish("si/x", "x", 1)
        writer.publish("si/x/end", "end", 1)
        reader.wait("the end", lambda: "end" in reader.payloads())
        found = [message.properties.SubscriptionIdentifier for message in reader.messages[:-1]]
        assert sorted(sum(found, [])) == [1, 200], found
        assert max(message.qos for message in reader.messages[:-1]) == 1


@check
def a_request_is_answered():
    """Response topic, correlation data and user properties make the way there and back (section 4.10)."""
    with client("rr-asks") as asks, client("rr-answers") as answers:
        asks.subscribe("rr/answer")
        answers.subscribe("rr/ask")
        user = [("b", "1"), ("a", "2"), ("b", "1"), ("ключ", "значение")]
        asks.publish("rr/ask", "?", 2, ResponseTopic="rr/answer", CorrelationData=b"\0\xff", UserProperty=user, ContentType="t")
        answers.expect(["?"])
        asked = answers.messages[0].properties
        assert (asked.UserProperty, asked.ContentType) == (user, "t"), asked.UserProperty
        answers.publish(asked.ResponseTopic, "!", 1, CorrelationData=asked.CorrelationData)
        asks.expect(["!"])
        assert asks.messages[0].properties.CorrelationData == b"\0\xff"


@check
def topic_aliases_are_followed_and_bounded():
    """[MQTT-3.3.2-12], [MQTT-3.3.2-8], [MQTT-3.3.2-9]."""
    with client("ta-r") as reader:
        reader.subscribe("ta/+")
        writer = client("ta-w")
        _, _, connack = writer.connect()
        most = connack.TopicAliasMaximum
        writer.publish("ta/one", "1", 1, TopicAlias=1)
        writer.publish("ta/two", "2", 1, TopicAlias=most)
        writer.publish("", "3", 1, TopicAlias=1)
        writer.publish("ta/three", "4", 1, TopicAlias=1)
        writer.publish("", "5", 1, TopicAlias=1)
        writer.publish("", "6", 1, TopicAlias=most)
        reader.expect("123456")
        assert [message.topic for message in reader.messages] == ["ta/one", "ta/two", "ta/one", "ta/three", "ta/three", "ta/two"]
        writer.disconnect()
    wrong = RawClient.connected(PORT, "ta-wrong")
    wrong.send(f"300a 0004 74612f78 03 23 {most + 1:04x}")
    wrong.expect_disconnect(TOPIC_ALIAS_INVALID)


@check
def a_client_that_does_not_acknowledge_gets_no_more_than_its_receive_maximum():
    """[MQTT-3.3.4-9]: QoS 0 passes meanwhile; each acknowledgement lets one more come."""
    reader = client("am-r", ReceiveMaximum=2)
    reader.paho.manual_ack_set(True)
    with reader, client("am-w") as writer:
        reader.subscribe("am/x", 1)
        reader.subscribe("am/free", 0)
        for number in range(6):
            writer.publish("am/x", str(number))
        writer.publish("am/free", "free", 0)
        expected = ["0", "1", "free"]
        reader.expect(expected)
        for number in range(2, 6):
            reader.paho.ack(reader.messages[number - 2 if number < 4 else number - 1].mid, 1)
            expected.append(str(number))
            reader.expect(expected)


@check
def messages_for_an_absent_client_wait_in_order():
    """[MQTT-4.4.0-1], [MQTT-4.6.0-6]; QoS 0 is not kept for it here, but may be."""
    for number in range(3):
        name = f"ab-{number}"
        absent = client(name, clean=False, SessionExpiryInterval=60)
        with absent:
            absent.subscribe(f"ab/{number}")
        with client(f"ab-w{number}") as writer:
            pending = [writer.paho.publish(f"ab/{number}", str(n), 1 + n % 2).mid for n in range(300)]
            writer.wait("all acknowledgements", lambda: all(mid in writer.published for mid in pending))
            assert all(writer.published[mid].value == 0 for mid in pending)
        back = client(name, clean=False, SessionExpiryInterval=60)
        assert back.connect()[0]
        back.wait("the queue", lambda: len(back.messages) >= 300)
        for parity in (0, 1):
            one_qos = [n for n in map(int, back.payloads()) if n % 2 == parity]
            assert one_qos == list(range(parity, 300, 2)), one_qos[:20]
        back.disconnect(SessionExpiryInterval=0)


@check
def many_subscribers_each_get_everything_in_order():
    readers = [client(f"fo-{n}", [V311, V5][n % 2]) for n in range(24)]
    for number, reader in enumerate(readers):
        reader.connect()
        reader.subscribe("fo/+", number % 3)
    with client("fo-w") as writer:
        for number in range(40):
            writer.paho.publish("fo/x", str(number), 2)
        for reader in readers:
            reader.expect(map(str, range(40)))
            reader.disconnect()


@check
def a_shared_subscription_survives_the_loss_of_a_member():
    """Section 4.8.2: the members that are left get everything, each message once."""
    members = [client(f"sh-{n}") for n in range(4)]
    for member in members:
        member.connect()
        assert member.subscribe("$share/g/sh/+", 1) == [1]
    with client("sh-w") as writer:
        for number in range(40):
            writer.publish("sh/x", str(number))
        for member in members:
            member.wait("its part", lambda member=member: len(member.messages) >= 10)
        members[2].disconnect()
        for number in range(40, 100):
            assert writer.publish("sh/x", str(number)) == 0
        rest = [member for member in members if member is not members[2]]
        deadline = time.monotonic() + 10
        while sum(len(member.messages) for member in members) < 100 and time.monotonic() < deadline:
            with rest[0].changed:
                rest[0].changed.wait(0.05)
        found = sorted(int(payload) for member in members for payload in member.payloads())
        assert found == list(range(100)), [len(member.messages) for member in members]
        counts = [len(member.messages) for member in members]
        assert counts == [30, 30, 10, 30], f"the turns are uneven: {counts}"
        retained_too = client("sh-late")
        writer.publish("sh/x", "kept", 1, True)
        retained_too.connect()
        retained_too.subscribe("$share/late/sh/+", 1)
        writer.publish("sh/y", "live")
        retained_too.expect(["live"])
        writer.publish("sh/x", "", 1, True)
        retained_too.disconnect()
    for member in members:
        member.disconnect()


def will(topic, **will_properties):
    return {"topic": topic, "payload": topic, "qos": 1, "properties": will_properties}


@check
def a_will_comes_after_its_delay_or_with_the_end_of_the_session():
    """[MQTT-3.1.3-9], [MQTT-3.1.2-8], [MQTT-3.1.2-10]."""
    with client("wd-watch") as watcher:
        watcher.subscribe("wd/#")
        stay = {"SessionExpiryInterval": 60}
        back = client("wd-back", will=will("wd/back", WillDelayInterval=1), **stay)
        back.connect()
        back.break_off()
        back.wait("the end", lambda: back.disconnects)
        returned = client("wd-back", clean=False, **stay)
        assert returned.connect()[0]
        late = client("wd-late", will=will("wd/late", WillDelayInterval=3), **stay)
        ended = client("wd-ended", will=will("wd/ended", WillDelayInterval=60), SessionExpiryInterval=1)
        soon = client("wd-soon", will=will("wd/soon"), **stay)
        asked = client("wd-asked", will=will("wd/asked"), **stay)
        polite = client("wd-polite", will=will("wd/polite"), **stay)
        for each in (late, ended, soon, asked, polite):
            each.connect()
        polite.disconnect()
        asked.disconnect(ReasonCode(PacketTypes.DISCONNECT, identifier=4))
        watcher.wait("the will that was asked for", lambda: watcher.payloads() == ["wd/asked"])

        def break_three_off():
            for each in (late, ended, soon):
                each.break_off()
            watcher.wait("four wills", lambda: len(watcher.messages) >= 4)

        waited = seconds_of(break_three_off)
        assert watcher.payloads() == ["wd/asked", "wd/soon", "wd/ended", "wd/late"], watcher.payloads()
        assert 2.8 < waited < 8, f"a delay of 3 s took {waited:.1f} s"
        for each in (returned, late, ended, soon):
            each.disconnect()


@check
def a_will_carries_its_properties():
    """[MQTT-3.1.3-10] and section 3.1.3.2."""
    with client("wp-watch") as watcher:
        watcher.subscribe("wp/#")
        user = [("k", "v"), ("k", "w")]
        dying = client("wp-dying", will=will("wp/x", ContentType="text", ResponseTopic="r", CorrelationData=b"c", UserProperty=user))
        dying.connect()
        dying.break_off()
        watcher.expect(["wp/x"])
        found = watcher.messages[0].properties
        assert (found.ContentType, found.ResponseTopic, found.CorrelationData) == ("text", "r", b"c")
        assert found.UserProperty == user
        dying.disconnect()


@check
def a_session_ends_after_its_expiry_interval():
    """[MQTT-3.1.2-23]; DISCONNECT may change the interval (section 3.14.2.2.2)."""
    names = {"se-short": 1, "se-long": 60, "se-lengthened": 1, "se-shortened": 60}
    changed = {"se-lengthened": {"SessionExpiryInterval": 60}, "se-shortened": {"SessionExpiryInterval": 1}}
    for name, interval in names.items():
        guest = client(name, SessionExpiryInterval=interval)
        guest.connect()
        guest.disconnect(**changed.get(name, {}))
    time.sleep(2.2)  # the interval itself is what is tested
    for name, present in (("se-short", False), ("se-long", True), ("se-lengthened", True), ("se-shortened", False)):
        back = client(name, clean=False)
        found, _, _ = back.connect()
        assert found == present, f"{name}: session present {found}"
        back.disconnect()


@check
def a_silent_client_is_dropped_and_its_will_published():
    """[MQTT-3.1.2-22]: after one and a half times the keep alive; 5.0 hears 0x8D."""
    with client("ka-watch") as watcher:
        watcher.subscribe("ka/#")

        def wait_for_the_end():
            older = RawClient(PORT, "1019 0004 4d515454 04 06 0001 0004 6b612d34 0004 6b612f34 0001 34")
            newer = RawClient(PORT, "101b 0004 4d515454 05 06 0001 00 0004 6b612d35 00 0004 6b612f35 0001 35")
            assert older.packet() == bytes.fromhex("20020000")
            assert newer.packet()[3] == 0
            assert older.packet() == b""
            newer.expect_disconnect(KEEP_ALIVE_TIMEOUT)

        waited = seconds_of(wait_for_the_end)
        assert 1.4 < waited < 6, f"a keep alive of 1 s took {waited:.1f} s"
        watcher.wait("both wills", lambda: len(watcher.messages) >= 2)
        assert sorted(watcher.payloads()) == ["4", "5"]


@check
def a_pinging_client_stays():
    """[MQTT-3.12.4-1]: PINGREQ is answered, and counts as a sign of life."""
    pinging = RawClient(PORT, "100e 0004 4d515454 05 02 0002 00 0001 70")
    assert pinging.packet()[3] == 0
    for _ in range(4):
        time.sleep(1)  # the silence between the pings is what is tested
        pinging.send("c000")
        assert pinging.packet() == b"\xd0\x00"
    pinging.close()


def run(function):
    try:
        function()
        return None
    except Exception:  # a failed check must not hide the others
        return traceback.format_exc()


def main():
    ordered = sorted(CHECKS, key=lambda function: not any(word in function.__name__ for word in SLOW))
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(PARALLEL) as pool:
        for number, (function, error) in enumerate(zip(ordered, pool.map(run, ordered)), 1):
            print(f"{'not ok' if error else 'ok'} {number} - {function.__name__}", flush=True)
            if error:
                failed += 1
                print("".join(f"#   {line}\n" for line in error.splitlines()), end="", flush=True)
    print(f"1..{len(ordered)}")
    print(f"# done, {failed} failed", flush=True)
    sys.exit(1 if failed else 0)


main()
