//! Who a client is: passwords, names, and whose session it is (section 4.12 of 3.1.1, 5.4 of 5.0).
//!
//! Duty: prove that a CONNECT waits for its verdict, what each verdict means, and that nobody gets what is another's. Must not:
//! test what a client may do (`rights`) or how passwords are kept (`auth`). Neighbours: `broker` checks the passwords.

use std::sync::Arc;

use ringmq::auth::password::{Hash, SALT_BYTES};
use ringmq::auth::{Passwords, Policy, Rules, Scheme, Terms};
use ringmq::limits::Limits;
use ringmq::shard::Verdict;
use ringmq::wire::{Connack, Connect, Packet, ProtocolVersion, QoS, ReasonCode};

use super::broker::Broker;
use super::packets::*;
use super::peer::Peer;

/// Users whose password is their name backwards.
pub(super) fn users(names: &[&str]) -> Option<Arc<Passwords>> {
    let line = |name: &&str| {
        let password: String = name.chars().rev().collect();
        format!("{name}:{}\n", Hash::of(password.as_bytes(), Scheme::Sha512, [1; SALT_BYTES]))
    };
    let text: String = names.iter().map(line).collect();
    Some(Arc::new(Passwords::parse(&text).expect("as they are written")))
}

fn closed(names: &[&str]) -> Policy {
    let rules = Rules { allow_anonymous: false, passwords: users(names), ..Rules::default() };
    Policy { rules: vec![rules], ..Policy::default() }
}

pub(super) fn as_user<'a>(connect: Connect<'a>, user: &'a str, password: &'a str) -> Connect<'a> {
    Connect { user_name: Some(user), password: Some(password.as_bytes()), ..connect }
}

fn everywhere(policy: &Policy, conversation: impl Fn(&Broker)) {
    for shards in [1, 2] {
        conversation(&Broker::under(shards, Limits::default(), policy.clone()));
    }
}

/// Dials, says CONNECT, and is refused.
#[track_caller]
fn refused(broker: &Broker, connect: Connect<'_>, reason: ReasonCode) {
    let peer = broker.dial(connect.version);
    peer.send(connect);
    peer.expect_refusal(reason);
}

fn lasting_as<'a>(client_id: &'a str, user: &'a str, password: &'a str) -> Connect<'a> {
    as_user(lasting(V5, client_id, 3600), user, password)
}

/// Cases A27 and A31, and the words of Mosquitto's configuration: who comes without a name, with a wrong one or a wrong password
/// is told so.
#[test]
fn a_client_needs_its_password() {
    everywhere(&closed(&["alice"]), |broker| {
        for version in DIALECTS {
            for client_id in ["ann", "bob"] {
                let connect = || Connect::new(version, client_id);
                broker.join(as_user(connect(), "alice", "ecila")).leave();
                let wrong = ReasonCode::BadUserNameOrPassword;
                refused(broker, as_user(connect(), "alice", "alice"), wrong);
                refused(broker, as_user(connect(), "alice", &"x".repeat(1024)), wrong);
                refused(broker, as_user(connect(), "alice", &"x".repeat(1025)), wrong);
                refused(broker, as_user(connect(), "alice", &"x".repeat(1026)), wrong);
                refused(broker, as_user(connect(), "nobody", "ecila"), wrong);
                refused(broker, as_user(connect(), "", ""), wrong);
                refused(broker, Connect { user_name: Some("alice"), ..connect() }, wrong);
                refused(broker, connect(), wrong);
            }
        }
        let wrong = broker.count(|counters| counters.refused_passwords);
        assert_eq!(wrong, 30, "the too long ones and those without a name were not checked");
    });
}

/// Without a password file, a name is believed only where none is needed.
#[test]
fn a_user_name_that_nobody_can_check_is_believed_only_where_none_is_needed() {
    for allow_anonymous in [true, false] {
        let rules = Rules { allow_anonymous, ..Rules::default() };
        everywhere(&Policy { rules: vec![rules], ..Policy::default() }, |broker| {
            let connect = as_user(Connect::new(V311, "ann"), "alice", "any");
            if allow_anonymous {
                broker.join(connect).leave();
            } else {
                refused(broker, connect, ReasonCode::NotAuthorized);
            }
        });
    }
}

/// Nothing behind CONNECT is taken before the verdict, and then all of it [MQTT-3.1.4-5].
#[test]
fn packets_behind_a_connect_wait_for_its_verdict() {
    everywhere(&closed(&["alice"]), |broker| {
        broker.hold_checks();
        for (client_id, verdict) in [("ann", Verdict::Right), ("bob", Verdict::Wrong)] {
            let peer = broker.dial(V5);
            let connect = as_user(Connect::new(V5, client_id), "alice", "ecila");
            let bytes = [connect.bytes(V5), qos1(1, "a", "x").bytes(V5)].concat();
            peer.send_bytes(&bytes);
            peer.send(Packet::Pingreq);
            peer.expect_nothing();
            assert_eq!((broker.sizes().logins_waiting, broker.sizes().sessions), (1, 0));
            let is_right = verdict == Verdict::Right;
            broker.answer_checks(verdict);
            broker.hold_checks();
            if is_right {
                peer.expect_admission(false);
                peer.expect_all(&[&unmatched(puback(1)), &Packet::Pingresp]);
                peer.leave();
            } else {
                peer.expect_refusal(ReasonCode::BadUserNameOrPassword);
            }
            assert_eq!((broker.sizes().logins_waiting, broker.sizes().connections), (0, 0));
        }
    });
}

/// Case R02: the time for CONNECT runs on; a verdict that comes later finds nobody, and not the next in the slot.
#[test]
fn a_verdict_that_does_not_come_ends_with_the_time_for_connect() {
    everywhere(&closed(&["alice"]), |broker| {
        broker.hold_checks();
        let late = broker.dial(V5);
        late.send(as_user(Connect::new(V5, "ann"), "alice", "ecila"));
        broker.at(9);
        late.expect_nothing();
        broker.at(11);
        late.expect_close();
        let next = broker.dial(V5);
        next.send(as_user(Connect::new(V5, "ann"), "alice", "wrong"));
        broker.release_checks();
        next.expect_refusal(ReasonCode::BadUserNameOrPassword);
        assert_eq!(broker.sizes().logins_waiting, 0);
    });
}

/// A question that was asked by the old files is not answered by them any more.
#[test]
fn a_verdict_by_the_old_files_says_nothing() {
    everywhere(&closed(&["alice"]), |broker| {
        broker.hold_checks();
        let peer = broker.dial(V5);
        peer.send(as_user(Connect::new(V5, "ann"), "alice", "wrong"));
        let old = broker.take_checks();
        assert_eq!(old.iter().map(|check| check.user.as_deref()).collect::<Vec<_>>(), [Some("alice")]);
        broker.rule(closed(&["alice", "bob"]));
        broker.answer(&old[0], Verdict::Right);
        peer.expect_nothing();
        broker.release_checks();
        peer.expect_refusal(ReasonCode::BadUserNameOrPassword);
    });
}

/// Case R07: a CONNECT that waits for its verdict has part in what all of those may have.
#[test]
fn what_waits_for_a_verdict_is_within_the_bound_of_all() {
    let limits = Limits { preauth_bytes_max: 1000, preauth_bytes_total_max: 1000, ..Limits::default() };
    let broker = Broker::under(1, limits, closed(&["alice"]));
    broker.hold_checks();
    let long = "x".repeat(800);
    let connect =
        || Connect { last_will: Some(will(Q0, "a", &long)), ..as_user(Connect::new(V5, "ann"), "alice", "ecila") };
    let first = broker.dial(V5);
    first.send(connect());
    refused(&broker, connect(), ReasonCode::ServerBusy);
    refused(&broker, connect(), ReasonCode::ServerBusy);
    assert_eq!(broker.count(|counters| counters.refused_preauth_bytes), 2);
    broker.release_checks();
    first.expect_admission(false);
}

/// `use_identity_as_username`: what a certificate has proved needs no password, and holds for one connection, until CONNECT.
#[test]
fn a_certificate_proves_the_user_of_its_connection() {
    everywhere(&closed(&["bob"]), |broker| {
        for client_id in ["ann", "dan"] {
            let certified = || broker.dial_certified("alice");
            let connect = || lasting(V5, client_id, 3600);
            let peer = certified();
            peer.send(connect());
            peer.expect_admission(false);
            // Another user gets nothing of hers, and her name by a password is none of this file.
            refused(broker, lasting_as(client_id, "bob", "bob"), ReasonCode::NotAuthorized);
            let wrong = ReasonCode::BadUserNameOrPassword;
            refused(broker, lasting_as(client_id, "alice", "ecila"), wrong);
            let again = certified();
            again.send(connect());
            again.expect_admission(true);
            peer.expect_disconnect(ReasonCode::SessionTakenOver);
            // A policy without her has no say, as no password file proved her name.
            broker.rule(closed(&["bob", "carol"]));
            again.expect_alive();
            again.leave();
            // Who is next in the slot has proved nothing.
            certified().vanish();
            refused(broker, connect(), wrong);
        }
    });
}

/// Section 4.2.4 of the limits: told to come later, and counted.
#[test]
fn a_password_that_is_not_checked_is_answered_as_busy() {
    everywhere(&closed(&["alice"]), |broker| {
        for (verdict, version) in [Verdict::Busy, Verdict::TooManyWrong].into_iter().zip([V5, V311]) {
            broker.hold_checks();
            let peer = broker.dial(version);
            peer.send(as_user(Connect::new(version, "ann"), "alice", "ecila"));
            broker.answer_checks(verdict);
            peer.expect_refusal(ReasonCode::ServerBusy);
        }
        assert_eq!(broker.count(|counters| counters.refused_checks), 1);
        assert_eq!(broker.count(|counters| counters.refused_guesses), 1);
    });
}

/// A session of alice with three messages, while she is away.
fn session_of_alice(broker: &Broker) {
    let alice = broker.join(lasting_as("ann", "alice", "ecila"));
    alice.subscribe("a/x", QoS::AtLeastOnce);
    alice.leave();
    let bob = broker.join(as_user(Connect::new(V5, "bob"), "bob", "bob"));
    for packet_id in 1..=3 {
        bob.send(qos1(packet_id, "a/x", "m"));
        bob.expect(puback(packet_id));
    }
    bob.leave();
}

fn gets_three(alice: &Peer) {
    for packet_id in 1..=3 {
        alice.expect(qos1(packet_id, "a/x", "m"));
        alice.send(puback(packet_id));
    }
    alice.leave();
}

/// Cases S01 and S02: neither resumed nor destroyed, online or not.
#[test]
fn the_session_of_another_user_is_not_taken_over() {
    everywhere(&closed(&["alice", "bob"]), |broker| {
        session_of_alice(broker);
        for clean_start in [false, true] {
            let thief = Connect { clean_start, ..lasting_as("ann", "bob", "bob") };
            refused(broker, thief, ReasonCode::NotAuthorized);
        }
        let alice = broker.rejoin(lasting_as("ann", "alice", "ecila"));
        refused(broker, lasting_as("ann", "bob", "bob"), ReasonCode::NotAuthorized);
        gets_three(&alice);
        assert_eq!(broker.count(|counters| counters.refused_owners), 3);
    });
}

/// Case S03: a wrong password costs the owner nothing.
#[test]
fn a_wrong_password_takes_over_nothing() {
    everywhere(&closed(&["alice", "bob"]), |broker| {
        session_of_alice(broker);
        let guess = || Connect { clean_start: true, ..lasting_as("ann", "alice", "guess") };
        refused(broker, guess(), ReasonCode::BadUserNameOrPassword);
        let alice = broker.rejoin(lasting_as("ann", "alice", "ecila"));
        refused(broker, guess(), ReasonCode::BadUserNameOrPassword);
        gets_three(&alice);
    });
}

/// A session of nobody becomes that of the first who proves a name, and no longer anybody's.
#[test]
fn a_session_without_an_owner_is_adopted_by_the_first_user() {
    let rules = Rules { passwords: users(&["alice", "bob"]), ..Rules::default() };
    everywhere(&Policy { rules: vec![rules], ..Policy::default() }, |broker| {
        broker.join(lasting(V5, "ann", 3600)).leave();
        broker.rejoin(lasting(V5, "ann", 3600)).leave();
        broker.rejoin(lasting_as("ann", "alice", "ecila")).leave();
        refused(broker, lasting_as("ann", "bob", "bob"), ReasonCode::NotAuthorized);
        refused(broker, lasting(V5, "ann", 3600), ReasonCode::NotAuthorized);
        broker.rejoin(lasting_as("ann", "alice", "ecila")).leave();
    });
}

/// A user that is no longer in the file is disconnected, and does not come back.
#[test]
fn a_user_that_has_vanished_is_disconnected() {
    everywhere(&closed(&["alice", "bob"]), |broker| {
        let alice = broker.join(as_user(Connect::new(V5, "ann"), "alice", "ecila"));
        let bob = broker.join(as_user(Connect::new(V5, "bob"), "bob", "bob"));
        broker.rule(closed(&["bob"]));
        alice.expect_disconnect(ReasonCode::NotAuthorized);
        bob.expect_alive();
        refused(broker, as_user(Connect::new(V5, "ann"), "alice", "ecila"), ReasonCode::BadUserNameOrPassword);
        bob.leave();
    });
}

/// Case A15: who is thrown out because it is no user any more has no last word; a delayed will is forgotten with it.
#[test]
fn the_will_of_a_user_that_has_vanished_is_not_published() {
    for delay_secs in [0, 5] {
        everywhere(&closed(&["alice", "bob"]), |broker| {
            let bob = broker.join(as_user(Connect::new(V5, "bob"), "bob", "bob"));
            bob.subscribe("gone", Q1);
            let last_will = Some(ringmq::wire::LastWill { delay_secs, ..will(Q1, "gone", "ann") });
            let alice = broker.join(Connect { last_will, ..lasting_as("ann", "alice", "ecila") });
            broker.rule(closed(&["bob"]));
            alice.expect_disconnect(ReasonCode::NotAuthorized);
            broker.at(60);
            bob.expect_nothing();
        });
    }
}

/// A password that is another is that of somebody else; one that is being checked is checked by the new file.
#[test]
fn who_came_with_an_old_password_is_disconnected() {
    everywhere(&closed(&["alice", "bob"]), |broker| {
        let alice = broker.join(as_user(Connect::new(V5, "ann"), "alice", "ecila"));
        let bob = broker.join(as_user(Connect::new(V5, "bob"), "bob", "bob"));
        broker.hold_checks();
        let waiting = broker.dial(V5);
        waiting.send(as_user(Connect::new(V5, "cat"), "alice", "ecila"));
        let hash = Hash::of(b"new", Scheme::Sha512, [2; SALT_BYTES]);
        let text = format!("alice:{hash}\nbob:{}\n", Hash::of(b"bob", Scheme::Sha512, [1; SALT_BYTES]));
        let mut changed = closed(&[]);
        changed.rules[0].passwords = Some(Arc::new(Passwords::parse(&text).expect("as it is written")));
        broker.rule(changed);
        alice.expect_disconnect(ReasonCode::NotAuthorized);
        waiting.expect_nothing();
        broker.release_checks();
        waiting.expect_refusal(ReasonCode::BadUserNameOrPassword);
        bob.expect_alive();
        broker.join(as_user(Connect::new(V5, "ann"), "alice", "new")).leave();
        bob.leave();
    });
}

fn on_terms(terms: Terms) -> Policy {
    Policy { listeners: vec![terms], ..Policy::default() }
}

/// [MQTT-3.2.2-9] [MQTT-3.2.2-10] [MQTT-3.2.2-11] [MQTT-3.2.2-12]: Maximum QoS is announced, granted, and kept.
#[test]
fn a_listener_may_have_a_maximum_qos() {
    let (most, over) = (QoS::AtLeastOnce, ReasonCode::QoSNotSupported);
    everywhere(&on_terms(Terms { maximum_qos: most, ..Terms::default() }), |broker| {
        let ann = broker.dial(V5);
        ann.send(Connect::new(V5, "ann"));
        ann.expect(Connack { maximum_qos: Some(most), ..granted() });
        ann.send(subscribe(1).to("a", Q2).to("b", Q0));
        ann.expect(suback(1, &[1, 0]));
        ann.send(qos1(1, "a", "x"));
        ann.expect_all(&[&qos1(1, "a", "x"), &puback(1)]);
        ann.send(qos2(2, "a", "x"));
        ann.expect_disconnect(over);
        refused(broker, Connect { last_will: Some(will(Q2, "a", "x")), ..Connect::new(V5, "ann") }, over);
    });
}

/// `max_topic_alias_broker`, [MQTT-3.3.2-10]: the listener's bound holds for its clients, and within theirs.
#[test]
fn a_listener_may_send_fewer_aliases_than_others() {
    let terms = |most| Terms { topic_alias_out_max: most, ..Terms::default() };
    let policy = Policy { listeners: [None, Some(0), Some(1)].map(terms).to_vec(), ..Policy::default() };
    everywhere(&policy, |broker| {
        let ann = broker.connect(V5, "ann");
        for (listener, topics) in [(0, ["", ""]), (1, ["a", "b"]), (2, ["", "b"])] {
            let bob = broker.dial_by(listener, V5);
            bob.send(Connect { topic_alias_maximum: 5, ..Connect::new(V5, "bob") });
            bob.expect(granted());
            bob.subscribe("+", Q0);
            for topic in ["a", "b"] {
                ann.send(qos0(topic, "x"));
                bob.hear();
            }
            for (topic, heard) in ["a", "b"].into_iter().zip(topics) {
                ann.send(qos0(topic, "x"));
                bob.hear_packet(|packet| {
                    let Packet::Publish(publish) = packet else { panic!("{packet:?}") };
                    assert_eq!(publish.topic, heard, "by listener {listener}");
                });
            }
            bob.leave();
        }
    });
}

/// [MQTT-3.2.2-13] [MQTT-3.2.2-14]: where nothing is retained, it is said, and who retains is disconnected.
#[test]
fn a_broker_may_retain_nothing() {
    let (policy, reason) = (Policy { retain_available: false, ..Policy::default() }, ReasonCode::RetainNotSupported);
    everywhere(&policy, |broker| {
        let ann = broker.dial(V5);
        ann.send(Connect::new(V5, "ann"));
        ann.expect(Connack { retain_available: Some(false), ..granted() });
        ann.send(ringmq::wire::Publish { retain: true, ..qos0("a", "x") });
        ann.expect_disconnect(reason);
        let last_will = Some(ringmq::wire::LastWill { retain: true, ..will(Q0, "a", "x") });
        refused(broker, Connect { last_will, ..Connect::new(V5, "ann") }, reason);
        assert_eq!(broker.sizes().retained_messages, 0);
    });
}

/// [MQTT-3.1.2-2] and `accept_protocol_versions`, `clientid_prefixes`, `allow_zero_length_clientid`.
#[test]
fn a_listener_says_which_versions_and_client_ids_it_takes() {
    let terms = Terms { versions: vec![ProtocolVersion::V311], ..Terms::default() };
    let rules = Rules { allow_empty_client_id: false, client_id_prefix: Some("a".into()), ..Rules::default() };
    everywhere(&Policy { rules: vec![rules], ..on_terms(terms) }, |broker| {
        broker.connect(V311, "ann").leave();
        refused(broker, Connect::new(V5, "ann"), ReasonCode::UnsupportedProtocolVersion);
        refused(broker, Connect::new(V311, "bob"), ReasonCode::NotAuthorized);
        refused(broker, Connect::new(V311, ""), ReasonCode::ClientIdentifierNotValid);
    });
}

/// `mount_point`: what stands before the topics of one listener's clients is seen by those of others alone.
#[test]
fn a_mount_point_is_not_seen_by_those_behind_it() {
    let mounted = Terms { mount_point: Some("m/".into()), ..Terms::default() };
    let policy = Policy { listeners: vec![Terms::default(), mounted], ..Policy::default() };
    everywhere(&policy, |broker| {
        let outside = broker.connect(V5, "bob");
        outside.subscribe("#", Q1);
        for (version, client_id) in [(V311, "ann"), (V5, "dan")] {
            let inside = broker.dial_by(1, version);
            inside.send(Connect { last_will: Some(will(Q0, "gone", "w")), ..Connect::new(version, client_id) });
            inside.expect_admission(false);
            inside.subscribe("a/+", Q1);
            inside.send(subscribe(2).to("$share/g/s", Q0));
            inside.expect(suback(2, &[0]));
            for _ in 0..3 {
                outside.send(qos0("m/a/x", "in"));
                outside.expect(qos0("m/a/x", "in"));
                inside.expect(qos0("a/x", "in"));
                outside.send(qos0("m/s", "in"));
                outside.expect(qos0("m/s", "in"));
                inside.expect(qos0("s", "in"));
                outside.send(qos0("a/x", "not for them"));
                outside.expect(qos0("a/x", "not for them"));
                inside.send(qos0("a/y", "own"));
                inside.expect(qos0("a/y", "own"));
                outside.expect(qos0("m/a/y", "own"));
            }
            inside.send(unsubscribe(3, &["a/+"]));
            inside.expect(unsuback(3, &[0]));
            outside.send(qos0("m/a/x", "gone"));
            outside.expect(qos0("m/a/x", "gone"));
            inside.vanish();
            outside.expect(qos0("m/gone", "w"));
        }
        outside.leave();
    });
}

/// `use_username_as_clientid`, on the shard of that name.
#[test]
fn a_user_name_may_be_the_client_id() {
    everywhere(&on_terms(Terms { uses_user_name_as_client_id: true, ..Terms::default() }), |broker| {
        let one = broker.join(as_user(lasting(V5, "one", 60), "bob", ""));
        let other = broker.rejoin(as_user(lasting(V5, "other", 60), "bob", ""));
        one.expect_disconnect(ReasonCode::SessionTakenOver);
        refused(broker, Connect::new(V5, "ann"), ReasonCode::BadUserNameOrPassword);
        refused(broker, as_user(Connect::new(V5, "ann"), "", ""), ReasonCode::BadUserNameOrPassword);
        other.leave();
    });
}
