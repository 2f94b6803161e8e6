//! Extended authentication: AUTH packets and SCRAM-SHA-256 (sections 3.15 and 4.12).
//!
//! Duty: prove who gets in by which messages, what is taken meanwhile, and how a connected client proves itself again. Must not:
//! test what SCRAM computes (`auth/scram`). Neighbours: `identity` has the passwords, `peer` the conversations.

use std::sync::Arc;

use base64ct::{Base64, Encoding};
use hmac::{Hmac, KeyInit, Mac};
use pbkdf2::pbkdf2_hmac;
use ringmq::auth::password::{Hash, SALT_BYTES};
use ringmq::auth::{Acl, Passwords, Policy, Rules, Scheme, Terms};
use ringmq::limits::Limits;
use ringmq::shard::Verdict;
use ringmq::wire::{Auth, Connack, Connect, Disconnect, Packet, ReasonCode};
use sha2::{Digest, Sha256};

use super::broker::Broker;
use super::identity::as_user;
use super::packets::*;
use super::peer::Peer;

const METHOD: &str = "SCRAM-SHA-256";

/// Alice and carol have keys for SCRAM, bob a hash; each password is the name.
fn rules(names: &[&str]) -> Rules {
    let line = |name: &&str| {
        let scheme = if *name == "bob" { Scheme::Sha512 } else { Scheme::ScramSha256 };
        format!("{name}:{}\n", Hash::of(name.as_bytes(), scheme, [name.len() as u8; SALT_BYTES]))
    };
    let text: String = names.iter().map(line).collect();
    let passwords = Some(Arc::new(Passwords::parse(&text).expect("as they are written")));
    Rules { allow_anonymous: false, passwords, ..Rules::default() }
}

fn policy() -> Policy {
    Policy { rules: vec![rules(&["alice", "bob", "carol"])], ..Policy::default() }
}

fn everywhere(conversation: impl Fn(&Broker)) {
    for shards in [1, 2] {
        conversation(&Broker::under(shards, Limits::default(), policy()));
    }
}

fn keyed(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length");
    mac.update(text);
    mac.finalize().into_bytes().to_vec()
}

/// The client's side of one exchange.
struct Scram<'a> {
    password: &'a str,
    first: String,
}

impl<'a> Scram<'a> {
    fn of(user: &str, password: &'a str) -> Self {
        Self { password, first: format!("n,,n={user},r=fyko+d2lbbFgONRv9qkxdawL") }
    }

    fn connect<'b>(&'b self, client_id: &'b str) -> Connect<'b> {
        let authentication_data = Some(self.first.as_bytes());
        Connect { authentication_method: Some(METHOD), authentication_data, ..Connect::new(V5, client_id) }
    }

    /// The client's last message, and what the broker's must be.
    fn last(&self, server_first: &str) -> (String, String) {
        let parts: Vec<&str> = server_first.split(',').map(|part| &part[2..]).collect();
        let (nonce, salt) = (parts[0], Base64::decode_vec(parts[1]).expect("base64"));
        assert!(nonce.starts_with("fyko+d2lbbFgONRv9qkxdawL") && nonce.len() > 40, "{server_first}");
        let mut salted = [0; 32];
        pbkdf2_hmac::<Sha256>(self.password.as_bytes(), &salt, parts[2].parse().expect("a number"), &mut salted);
        let without_proof = format!("c=biws,r={nonce}");
        let signed = format!("{},{server_first},{without_proof}", &self.first[3..]);
        let client_key = keyed(&salted, b"Client Key");
        let signature = keyed(&Sha256::digest(&client_key), signed.as_bytes());
        let proof: Vec<u8> = client_key.iter().zip(signature).map(|(key, sign)| key ^ sign).collect();
        let server_signature = keyed(&keyed(&salted, b"Server Key"), signed.as_bytes());
        let last = format!("{without_proof},p={}", Base64::encode_string(&proof));
        (last, format!("v={}", Base64::encode_string(&server_signature)))
    }

    /// Hears our first message and answers it; what the broker's last one must be.
    #[track_caller]
    fn answer(&self, peer: &Peer) -> String {
        let (last, server_final) = self.last(&challenge(peer));
        peer.send(auth(ReasonCode::ContinueAuthentication, &last));
        server_final
    }

    /// Comes in.
    #[track_caller]
    fn join(&self, broker: &Broker, connect: Connect<'_>) -> Peer {
        let peer = broker.dial(V5);
        peer.send(connect);
        let server_final = self.answer(&peer);
        peer.hear_packet(|packet| {
            let Packet::Connack(connack) = packet else { panic!("{packet:?}") };
            assert_eq!(connack.reason, ReasonCode::Success);
            assert_eq!(connack.authentication_method, Some(METHOD));
            assert_eq!(connack.authentication_data, Some(server_final.as_bytes()));
        });
        peer
    }
}

fn auth(reason: ReasonCode, data: &str) -> Auth<'_> {
    let (authentication_method, authentication_data) = (Some(METHOD), Some(data.as_bytes()));
    Auth { reason, authentication_method, authentication_data, ..Auth::default() }
}

/// Our first message.
#[track_caller]
fn challenge(peer: &Peer) -> String {
    peer.hear_packet(|packet| {
        let Packet::Auth(auth) = packet else { panic!("expected AUTH, got {packet:?}") };
        assert_eq!((auth.reason, auth.authentication_method), (ReasonCode::ContinueAuthentication, Some(METHOD)));
        assert_eq!((auth.properties.reason_string(), auth.properties.user_properties().count()), (None, 0));
        String::from_utf8(auth.authentication_data.expect("data").to_vec()).expect("text")
    })
}

fn alice() -> Scram<'static> {
    Scram::of("alice", "alice")
}

/// [MQTT-4.12.0-2] [MQTT-4.12.0-3] [MQTT-4.12.0-5] [MQTT-3.15.2-1] and the exchange of RFC 5802: both sides prove that they know the
/// password, and each packet names the method.
#[test]
fn a_client_proves_its_password_and_the_broker_that_it_knows_it() {
    everywhere(|broker| {
        for client_id in ["ann", "bob"] {
            let peer = broker.dial(V5);
            peer.send(alice().connect(client_id));
            assert_eq!((broker.sizes().logins_waiting, broker.sizes().sessions), (1, 0));
            let server_final = alice().answer(&peer);
            let authentication_data = Some(server_final.as_bytes());
            peer.expect(Connack { authentication_method: Some(METHOD), authentication_data, ..granted() });
            peer.expect_alive();
            assert_eq!((broker.sizes().logins_waiting, broker.sizes().held_bytes), (0, 0));
            peer.leave();
            // The same user by its plain password.
            broker.join(as_user(Connect::new(V311, client_id), "alice", "alice")).leave();
        }
        assert_eq!(broker.count(|counters| counters.connects), 4);
    });
}

/// The messages may come in any pieces, and what follows the last one is taken after CONNACK.
#[test]
fn an_exchange_may_come_byte_by_byte() {
    everywhere(|broker| {
        let peer = broker.dial(V5);
        alice().connect("bob").bytes(V5).iter().for_each(|byte| peer.send_bytes(&[*byte]));
        let (last, _) = alice().last(&challenge(&peer));
        let rest = [auth(ReasonCode::ContinueAuthentication, &last).bytes(V5), Packet::Pingreq.bytes(V5)].concat();
        rest.iter().for_each(|byte| peer.send_bytes(&[*byte]));
        peer.expect_admission(false);
        peer.expect(Packet::Pingresp);
        peer.leave();
    });
}

/// [MQTT-4.12.0-4] and cases A29 and S03: who has no proof is told so after the exchange, whether the user exists or not.
#[test]
fn who_cannot_prove_its_password_is_refused() {
    everywhere(|broker| {
        let owner = alice().join(broker, Connect { session_expiry_secs: Some(60), ..alice().connect("ann") });
        for (user, password) in [("alice", "guess"), ("alice", ""), ("bob", "bob"), ("nobody", "nobody")] {
            let scram = Scram::of(user, password);
            let peer = broker.dial(V5);
            peer.send(scram.connect("ann"));
            scram.answer(&peer);
            peer.expect_refusal(ReasonCode::NotAuthorized);
        }
        assert_eq!(broker.count(|counters| counters.refused_passwords), 4);
        // Nor does another user get the session.
        let carol = Scram::of("carol", "carol");
        let thief = broker.dial(V5);
        thief.send(carol.connect("ann"));
        carol.answer(&thief);
        thief.expect_refusal(ReasonCode::NotAuthorized);
        owner.expect_alive();
        assert_eq!(broker.sizes().logins_waiting, 0);
        let next = alice().join(broker, Connect { clean_start: false, ..alice().connect("ann") });
        owner.expect_disconnect(ReasonCode::SessionTakenOver);
        next.leave();
    });
}

/// [MQTT-3.1.2-30]: before CONNACK only AUTH and DISCONNECT are taken; all else is told to be a protocol error.
#[test]
fn nothing_but_auth_is_taken_during_an_exchange() {
    everywhere(|broker| {
        let connect = alice();
        let others: [&dyn Say; 5] =
            [&qos1(1, "a", "x"), &subscribe(1).to("a", Q1), &Packet::Pingreq, &puback(1), &connect.connect("ann")];
        for packet in others {
            for is_at_once in [false, true] {
                let peer = broker.dial(V5);
                let first = connect.connect("bob").bytes(V5);
                if is_at_once {
                    peer.send_bytes(&[first, packet.bytes(V5)].concat());
                } else {
                    peer.send_bytes(&first);
                    peer.send_bytes(&packet.bytes(V5));
                }
                challenge(&peer);
                peer.expect_refusal(ReasonCode::ProtocolError);
            }
        }
        let peer = broker.dial(V5);
        peer.send(connect.connect("bob"));
        challenge(&peer);
        peer.send(Disconnect::new(ReasonCode::Success));
        peer.expect_close();
        assert_eq!((broker.sizes().logins_waiting, broker.sizes().connections, broker.sizes().held_bytes), (0, 0, 0));
    });
}

/// [MQTT-3.15.2-1] [MQTT-4.12.0-3] [MQTT-4.12.0-5]: an AUTH that does not continue with the same method is a protocol error, and one
/// that does not parse is told as what it is.
#[test]
fn an_auth_continues_with_the_method_of_connect() {
    everywhere(|broker| {
        let other = Auth { authentication_method: Some("OTHER"), ..auth(ReasonCode::ContinueAuthentication, "x") };
        for (bytes, reason) in [
            (auth(ReasonCode::Reauthenticate, "x").bytes(V5), ReasonCode::ProtocolError),
            (auth(ReasonCode::Success, "x").bytes(V5), ReasonCode::ProtocolError),
            (other.bytes(V5), ReasonCode::ProtocolError),
            (hex("f000"), ReasonCode::ProtocolError),
            (hex("f1021800"), ReasonCode::MalformedPacket),
            (hex("f00118"), ReasonCode::MalformedPacket),
            (auth(ReasonCode::ContinueAuthentication, "c=biws,r=x,p=y").bytes(V5), ReasonCode::NotAuthorized),
            (
                Auth { authentication_data: None, ..auth(ReasonCode::ContinueAuthentication, "") }.bytes(V5),
                ReasonCode::NotAuthorized,
            ),
        ] {
            let peer = broker.dial(V5);
            peer.send(alice().connect("bob"));
            challenge(&peer);
            peer.send_bytes(&bytes);
            peer.expect_refusal(reason);
        }
    });
}

/// [MQTT-4.12.0-1]: a method that is not offered is 0x8C, a first message that is none 0x87, and no AUTH is sent.
#[test]
fn a_first_message_is_refused_when_nothing_can_come_of_it() {
    everywhere(|broker| {
        let scram = alice();
        let with = |method, data: &'static [u8]| Connect {
            authentication_method: Some(method),
            authentication_data: Some(data),
            ..Connect::new(V5, "bob")
        };
        for (connect, reason) in [
            (with("PLAIN", b"x"), ReasonCode::BadAuthenticationMethod),
            (with("scram-sha-256", b"n,,n=alice,r=x"), ReasonCode::BadAuthenticationMethod),
            (with(METHOD, b"rubbish"), ReasonCode::NotAuthorized),
            (with(METHOD, b"p=tls-exporter,,n=alice,r=x"), ReasonCode::NotAuthorized),
            (with(METHOD, b"n,a=carol,n=alice,r=x"), ReasonCode::NotAuthorized),
            (Connect { authentication_data: None, ..scram.connect("bob") }, ReasonCode::NotAuthorized),
            (as_user(scram.connect("bob"), "carol", "carol"), ReasonCode::NotAuthorized),
        ] {
            let peer = broker.dial(V5);
            peer.send(connect);
            peer.expect_refusal(reason);
        }
        // A CONNECT may name the same user.
        scram.join(broker, Connect { user_name: Some("alice"), ..scram.connect("bob") }).leave();
        broker.rule(Policy { rules: vec![rules(&["bob"])], ..Policy::default() });
        let peer = broker.dial(V5);
        peer.send(scram.connect("bob"));
        peer.expect_refusal(ReasonCode::BadAuthenticationMethod);
    });
}

/// [MQTT-3.15.2-2] [MQTT-3.15.2-3]: AUTH has no words of ours, and a client that cannot take it is told so.
#[test]
fn an_auth_that_a_client_cannot_take_is_not_sent() {
    everywhere(|broker| {
        let peer = broker.dial(V5);
        peer.send(Connect { maximum_packet_size: Some(64), ..alice().connect("bob") });
        peer.expect_refusal(ReasonCode::PacketTooLarge);
        let connected = alice().join(broker, Connect { maximum_packet_size: Some(130), ..alice().connect("bob") });
        let first = format!("n,,n=alice,r={}", "x".repeat(100));
        connected.send(auth(ReasonCode::Reauthenticate, &first));
        connected.expect_disconnect(ReasonCode::PacketTooLarge);
    });
}

/// Case A30: a proof waits for its verdict like a password, unread; each verdict means the same.
#[test]
fn a_proof_is_judged_where_passwords_are() {
    everywhere(|broker| {
        for (verdict, reason) in [
            (Verdict::Right, None),
            (Verdict::Wrong, Some(ReasonCode::NotAuthorized)),
            (Verdict::Busy, Some(ReasonCode::ServerBusy)),
            (Verdict::TooManyWrong, Some(ReasonCode::ServerBusy)),
        ] {
            broker.hold_checks();
            let peer = broker.dial(V5);
            peer.send(alice().connect("bob"));
            alice().answer(&peer);
            peer.send(Packet::Pingreq);
            peer.expect_nothing();
            assert_eq!((broker.sizes().logins_waiting, broker.sizes().sessions), (1, 0));
            let asked = broker.take_checks();
            assert_eq!(asked.iter().map(|check| check.user.as_deref()).collect::<Vec<_>>(), [Some("alice")]);
            broker.answer(&asked[0], verdict);
            broker.release_checks();
            match reason {
                None => {
                    peer.expect_admission(false);
                    peer.expect(Packet::Pingresp);
                    peer.leave();
                }
                Some(reason) => peer.expect_refusal(reason),
            }
        }
        // A right verdict does not make a proof right.
        broker.hold_checks();
        let peer = broker.dial(V5);
        let guess = Scram::of("alice", "guess");
        peer.send(guess.connect("bob"));
        guess.answer(&peer);
        broker.answer_checks(Verdict::Right);
        peer.expect_refusal(ReasonCode::NotAuthorized);
        assert_eq!((broker.count(|counters| counters.refused_guesses), broker.sizes().logins_waiting), (1, 0));
    });
}

/// Case R02: the time for CONNECT goes on until the proof is there and judged; the log says what it was that did not come.
#[test]
fn an_exchange_ends_with_the_time_for_connect() {
    everywhere(|broker| {
        broker.hold_checks();
        let silent = broker.dial(V5);
        let asked = broker.dial(V5);
        asked.send(alice().connect("bob"));
        challenge(&asked);
        let proven = broker.dial(V5);
        proven.send(alice().connect("carol"));
        alice().answer(&proven);
        broker.at(9);
        let peers = [silent, asked, proven];
        peers.iter().for_each(Peer::expect_nothing);
        broker.at(11);
        peers.iter().for_each(Peer::expect_close);
        let mut told = broker.refusals();
        told.sort_unstable();
        let within = ["no AUTH", "no CONNECT", "the password was not checked"];
        assert_eq!(told, within.map(|what| format!("{what} within connect_timeout_ms")));
        assert_eq!((broker.sizes().logins_waiting, broker.sizes().held_bytes), (0, 0));
    });
}

/// Case R07: a CONNECT that waits for its proof has part in what all of those may have, and so has an AUTH that has begun.
#[test]
fn what_waits_for_a_proof_is_within_the_bound_of_all() {
    let limits = Limits { preauth_bytes_max: 1000, preauth_bytes_total_max: 1000, ..Limits::default() };
    let broker = Broker::under(1, limits, policy());
    let long = "x".repeat(800);
    let scram = alice();
    let long_connect = Connect { last_will: Some(will(Q0, "a", &long)), ..scram.connect("ann") };
    let first = broker.dial(V5);
    first.send(long_connect);
    challenge(&first);
    let second = broker.dial(V5);
    second.send(long_connect);
    second.expect_refusal(ReasonCode::ServerBusy);
    first.send_hex("f0ff0118");
    first.expect_refusal(ReasonCode::ServerBusy);
    let third = broker.dial(V5);
    third.send(long_connect);
    challenge(&third);
    third.vanish();
    assert_eq!(broker.count(|counters| counters.refused_preauth_bytes), 2);
    let tight = Limits { held_bytes_per_shard_max: 600, ..Limits::default() };
    let broker = Broker::under(1, tight, policy());
    let peer = broker.dial(V5);
    peer.send(scram.connect("ann"));
    peer.expect_refusal(ReasonCode::QuotaExceeded);
    assert_eq!(broker.count(|counters| counters.refused_over_budget), 1);
}

/// RFC 5802 section 5.1: what one exchange has shown is of no use in another, even if the client says the same.
#[test]
fn no_two_exchanges_have_the_same_challenge() {
    everywhere(|broker| {
        let challenges = [(); 3].map(|()| {
            let peer = broker.dial(V5);
            peer.send(alice().connect("bob"));
            challenge(&peer)
        });
        assert!(challenges[0] != challenges[1] && challenges[1] != challenges[2] && challenges[0] != challenges[2]);
    });
}

/// A challenge that is just as large as the client takes is sent, one byte more is not.
#[test]
fn a_challenge_may_fill_the_maximum_packet_size() {
    everywhere(|broker| {
        let probe = broker.dial(V5);
        probe.send(alice().connect("bob"));
        let bytes = auth(ReasonCode::ContinueAuthentication, &challenge(&probe)).bytes(V5).len() as u32;
        for (maximum, is_sent) in [(bytes, true), (bytes - 1, false)] {
            let peer = broker.dial(V5);
            peer.send(Connect { maximum_packet_size: Some(maximum), ..alice().connect("bob") });
            if is_sent {
                challenge(&peer);
            } else {
                peer.expect_refusal(ReasonCode::PacketTooLarge);
            }
        }
    });
}

/// CONNECT and AUTH are packets that were received, and a proof that fails is a wrong password, whenever it comes.
#[test]
fn the_packets_and_failures_of_an_exchange_are_counted() {
    everywhere(|broker| {
        for times in 1..=2 {
            let peer = alice().join(broker, alice().connect("bob"));
            assert_eq!(broker.count(|counters| counters.packets_received), times * 4 - 2);
            peer.send(auth(ReasonCode::Reauthenticate, &alice().first));
            challenge(&peer);
            peer.send(auth(ReasonCode::ContinueAuthentication, "c=biws,r=x,p=y"));
            peer.expect_disconnect(ReasonCode::NotAuthorized);
            assert_eq!(broker.count(|counters| counters.refused_passwords), times);
        }
    });
}

/// The proof is that of the password that holds when it comes.
#[test]
fn a_user_that_vanishes_during_the_exchange_does_not_get_in() {
    everywhere(|broker| {
        let peer = broker.dial(V5);
        peer.send(alice().connect("bob"));
        broker.rule(Policy { rules: vec![rules(&["carol"])], ..Policy::default() });
        alice().answer(&peer);
        peer.expect_refusal(ReasonCode::NotAuthorized);
    });
}

/// `use_username_as_clientid`: the name that SCRAM proves, on the shard of that name.
#[test]
fn the_name_that_is_proven_may_be_the_client_id() {
    for shards in [1, 2] {
        let terms = Terms { uses_user_name_as_client_id: true, ..Terms::default() };
        let acl = Acl::parse("user ann\ntopic a\nuser dan\ntopic a\n").expect("a good file");
        let rules = vec![Rules { acl: Some(Arc::new(acl)), ..rules(&["ann", "dan"]) }];
        let broker =
            Broker::under(shards, Limits::default(), Policy { rules, listeners: vec![terms], ..Policy::default() });
        for user in ["ann", "dan"] {
            let scram = Scram::of(user, user);
            let one = scram.join(&broker, scram.connect("one"));
            let other = scram.join(&broker, scram.connect("other"));
            one.expect_disconnect(ReasonCode::SessionTakenOver);
            // It is the user name as well.
            other.send(qos1(1, "a", "x"));
            other.expect(unmatched(puback(1)));
            other.leave();
        }
    }
}

/// [MQTT-4.12.1-1] [MQTT-4.12.0-5]: a connected client proves again who it is, and all else goes on meanwhile; and again.
#[test]
fn a_connected_client_may_prove_itself_again() {
    everywhere(|broker| {
        let peer = alice().join(broker, alice().connect("bob"));
        peer.subscribe("a", Q1);
        let held_bytes = broker.sizes().held_bytes;
        for packet_id in 1..=2 {
            peer.send(auth(ReasonCode::Reauthenticate, &alice().first));
            let server_first = challenge(&peer);
            peer.send(qos1(packet_id, "a", "x"));
            peer.expect_all(&[&qos1(packet_id, "a", "x"), &puback(packet_id)]);
            peer.send(puback(packet_id));
            let (last, server_final) = alice().last(&server_first);
            peer.send(auth(ReasonCode::ContinueAuthentication, &last));
            peer.expect(auth(ReasonCode::Success, &server_final));
            assert_eq!((broker.sizes().logins_waiting, broker.sizes().held_bytes), (0, held_bytes));
        }
        peer.leave();
    });
}

/// [MQTT-4.12.1-1] [MQTT-4.12.1-2]: a client that fails to prove itself again is disconnected and told why.
#[test]
fn who_fails_to_prove_itself_again_is_disconnected() {
    everywhere(|broker| {
        let (again, on) = (ReasonCode::Reauthenticate, ReasonCode::ContinueAuthentication);
        let carol = Scram::of("carol", "carol");
        let long = format!("n,,n=alice,r={}", "x".repeat(5000));
        let scram = alice();
        let other = Auth { authentication_method: Some("OTHER"), ..auth(again, &scram.first) };
        let bare = Auth { authentication_data: None, ..auth(again, "") };
        for (said, reason) in [
            (vec![other], ReasonCode::ProtocolError),
            (vec![auth(on, "c=biws,r=x,p=y")], ReasonCode::ProtocolError),
            (vec![auth(again, &scram.first), auth(again, &scram.first)], ReasonCode::ProtocolError),
            (vec![auth(again, "rubbish")], ReasonCode::NotAuthorized),
            (vec![auth(again, &long)], ReasonCode::NotAuthorized),
            (vec![bare], ReasonCode::NotAuthorized),
            (vec![auth(again, &carol.first)], ReasonCode::NotAuthorized),
            (vec![auth(again, &scram.first), auth(on, "c=biws,r=x,p=y")], ReasonCode::NotAuthorized),
        ] {
            let peer = scram.join(broker, scram.connect("bob"));
            let asked = said.len() - 1;
            said.iter().for_each(|packet| peer.send(*packet));
            (0..asked).for_each(|_| drop(challenge(&peer)));
            peer.expect_disconnect(reason);
        }
        assert_eq!((broker.sizes().logins_waiting, broker.sizes().connections, broker.sizes().held_bytes), (0, 0, 0));
    });
}

/// An exchange costs what it keeps, also on a connection that is there.
#[test]
fn a_renewed_proof_is_within_the_bound_of_the_shard() {
    let limits = Limits { held_bytes_per_shard_max: 2000, ..Limits::default() };
    let broker = Broker::under(1, limits, policy());
    let peer = alice().join(&broker, alice().connect("ann"));
    let long = format!("n,,n=alice,r={}", "x".repeat(2000));
    peer.send(auth(ReasonCode::Reauthenticate, &long));
    peer.expect_disconnect(ReasonCode::QuotaExceeded);
}
