//! What a token, or an authenticator, has said of a client: who it is, what it may do, until when.
//!
//! Duty: prove what becomes of a verdict that brings a name, rights and an end, on whole shards. Must not: verify a token or ask
//! anybody (`runtime`). Neighbours: `identity` has the verdicts on passwords, `rights` the rules of files.

use std::sync::Arc;

use ringmq::auth::{Acl, Grants, Judge, JudgeId, Policy, Rules, Terms, Warrant};
use ringmq::id::Millis;
use ringmq::limits::Limits;
use ringmq::shard::{Court, DropReason, Verdict};
use ringmq::wire::{Connect, ProtocolVersion, QoS, ReasonCode};

use super::broker::Broker;
use super::identity::{as_user, users};
use super::packets::*;
use super::peer::Peer;

const TOKEN: &str = "eyJhbGciOiJIUzI1NiJ9.e30.c2lnbmF0dXJl";
const JUDGE: JudgeId = JudgeId(7);

fn judged_by(id: JudgeId) -> Policy {
    let tokens = Some(Judge { id, gives_rights: true });
    let acl = Some(Arc::new(Acl::parse("user alice\ntopic readwrite file/#\n").expect("a good file")));
    let rules = Rules {
        allow_anonymous: false,
        passwords: users(&["bob"]),
        tokens,
        acl,
        acl_name: "acl".into(),
        ..Rules::default()
    };
    Policy { rules: vec![rules], ..Policy::default() }
}

fn everywhere(conversation: impl Fn(&Broker)) {
    for shards in [1, 2] {
        conversation(&Broker::under(shards, Limits::default(), judged_by(JUDGE)));
    }
}

fn grants(publish: &[&str], receive: &[&str]) -> Option<Grants> {
    let list = |texts: &[&str]| texts.iter().map(|text| (*text).into()).collect();
    Some(Grants::new(list(publish), list(receive)).expect("filters"))
}

fn warrant() -> Warrant {
    let grants = grants(&["dev/%c/#", "open"], &["home/%u/#", "open"]);
    Warrant { judge: JUDGE, user: Some("alice".into()), grants, expires_at: Millis::NEVER }
}

/// A client with a token, and whatever is said of it.
fn come(broker: &Broker, connect: Connect<'_>, verdict: Verdict) -> Peer {
    broker.hold_checks();
    let peer = broker.dial(connect.version);
    peer.send(as_user(connect, "somebody", TOKEN));
    let asked = broker.take_checks();
    assert_eq!(asked.len(), 1);
    assert!(matches!(asked[0].court, Court::Tokens(JUDGE)) && &*asked[0].password == TOKEN.as_bytes());
    broker.answer(&asked[0], verdict);
    broker.release_checks();
    peer
}

fn join(broker: &Broker, connect: Connect<'_>, warrant: Warrant) -> Peer {
    let peer = come(broker, connect, Verdict::Warranted(Arc::new(warrant)));
    peer.expect_admission(false);
    peer
}

/// Cases A01, A02, A03: the rights of the token count, and not those of the file for the same user.
#[test]
fn a_token_brings_its_own_rights() {
    everywhere(|broker| {
        for (client_id, version) in [("ann", V5), ("cat", V311)] {
            let alice = join(broker, Connect::new(version, client_id), warrant());
            alice.subscribe("#", Q1);
            alice.subscribe("$share/g/#", Q1);
            for (topic, may) in [(format!("dev/{client_id}/x"), true), ("dev/other/x".into(), false)] {
                alice.send(qos1(1, &topic, "m"));
                let denied = if version == V5 { because(ReasonCode::NotAuthorized, puback(1)) } else { puback(1) };
                let taken = if version == V5 { unmatched(puback(1)) } else { puback(1) };
                alice.expect(if may { taken } else { denied });
            }
            for topic in ["file/x", "home/alice/x"] {
                alice.send(qos0(topic, "no"));
            }
            alice.leave();
        }
        let denied = broker.count(|counters| counters.publishes_denied);
        assert_eq!(denied, 6);
        let reader = join(broker, Connect::new(V5, "ann"), warrant());
        reader.subscribe("#", Q0);
        let everything = Warrant { grants: grants(&["#"], &[]), ..warrant() };
        let writer = join(broker, Connect::new(V5, "cat"), everything);
        // Thrice, so that what is remembered of a topic is asked, too.
        for _ in 0..3 {
            for topic in ["file/x", "home/bob/x", "dev/ann/x", "home/alice/x", "open"] {
                writer.send(qos0(topic, "m"));
            }
            reader.expect_all(&[&qos0("home/alice/x", "m"), &qos0("open", "m")]);
        }
        writer.leave();
        reader.leave();
    });
}

/// Without rights in the token, the file says what its user may do, and the user is the token's.
#[test]
fn a_token_without_rights_is_a_proof_of_a_name() {
    everywhere(|broker| {
        let alice = join(broker, Connect::new(V5, "ann"), Warrant { grants: None, ..warrant() });
        alice.subscribe("file/#", Q0);
        alice.send(qos0("file/x", "m"));
        alice.expect(qos0("file/x", "m"));
        alice.send(qos1(1, "open", "m"));
        alice.expect(because(ReasonCode::NotAuthorized, puback(1)));
        alice.leave();
    });
}

/// Case A13: the will is judged by the rights of the token.
#[test]
fn a_will_needs_the_right_of_the_token() {
    everywhere(|broker| {
        for (topic, may) in [("dev/ann/gone", true), ("file/gone", false)] {
            let connect = Connect { last_will: Some(will(Q0, topic, "gone")), ..Connect::new(V5, "ann") };
            let peer = come(broker, connect, Verdict::Warranted(Arc::new(warrant())));
            if may {
                peer.expect_admission(false);
                peer.leave();
            } else {
                peer.expect_refusal(ReasonCode::NotAuthorized);
            }
        }
    });
}

/// Where it is asked for, a SUBSCRIBE that the token lets bring nothing is refused (case A03).
#[test]
fn a_useless_subscription_is_refused_by_the_rights_of_the_token() {
    let mut policy = judged_by(JUDGE);
    policy.rules[0].refuses_useless_subscriptions = true;
    let broker = Broker::under(1, Limits::default(), policy);
    let alice = join(&broker, Connect::new(V5, "ann"), warrant());
    let no = ReasonCode::NotAuthorized as u8;
    alice.send(subscribe(1).to("file/#", Q1).to("home/+/x", Q1).to("home/bob/x", Q0).to("$share/g/file/x", Q0));
    alice.expect(suback(1, &[no, 1, no, no]));
    alice.leave();
}

/// Every verdict that is no admission has its reason and its counter; case A26: no answer is a refusal.
#[test]
fn who_is_not_warranted_is_told_so_and_counted() {
    everywhere(|broker| {
        let (wrong, busy) = (ReasonCode::BadUserNameOrPassword, ReasonCode::ServerBusy);
        for version in [V5, V311] {
            for (verdict, reason) in [
                (Verdict::BadToken("the token has expired"), wrong),
                (Verdict::Refused, wrong),
                (Verdict::Unanswered("the authenticator does not answer"), busy),
            ] {
                come(broker, Connect::new(version, "ann"), verdict).expect_refusal(reason);
            }
        }
        for counter in [
            broker.count(|counters| counters.refused_tokens),
            broker.count(|counters| counters.refused_by_authenticator),
            broker.count(|counters| counters.authenticator_failures),
        ] {
            assert_eq!(counter, 2);
        }
    });
}

/// A token without a user name in CONNECT, and what is no token; a token longer than `token_bytes_max` is not verified (case A31).
#[test]
fn what_is_no_token_is_not_judged_as_one() {
    everywhere(|broker| {
        broker.hold_checks();
        let nameless = broker.dial(V5);
        nameless.send(Connect { password: Some(TOKEN.as_bytes()), ..Connect::new(V5, "ann") });
        let asked = broker.take_checks();
        assert!(matches!(asked[0].court, Court::Tokens(JUDGE)) && asked[0].user.is_none());
        broker.answer(&asked[0], Verdict::Warranted(Arc::new(warrant())));
        nameless.expect_admission(false);
        nameless.leave();
        let other = broker.dial(V5);
        other.send(as_user(Connect::new(V5, "ann"), "bob", "bob"));
        assert!(matches!(broker.take_checks()[0].court, Court::Passwords(_)));
        let longest = format!("{TOKEN}{}", "x".repeat(8192 - TOKEN.len()));
        let judged = broker.dial(V5);
        judged.send(as_user(Connect::new(V5, "dan"), "bob", &longest));
        assert!(matches!(broker.take_checks()[0].court, Court::Tokens(JUDGE)));
        judged.vanish();
        let long = format!("{longest}x");
        let refused = broker.dial(V5);
        refused.send(as_user(Connect::new(V5, "cat"), "bob", &long));
        refused.expect_refusal(ReasonCode::BadUserNameOrPassword);
        assert!(broker.take_checks().is_empty());
        other.vanish();
    });
}

/// Cases S01 and S02: the session is that of the token's user, whatever CONNECT says.
#[test]
fn the_user_of_the_token_owns_the_session() {
    everywhere(|broker| {
        let lasting = || lasting(V5, "ann", 3600);
        join(broker, lasting(), warrant()).leave();
        let thief = Warrant { user: Some("mallory".into()), ..warrant() };
        let thief = come(broker, lasting(), Verdict::Warranted(Arc::new(thief)));
        thief.expect_refusal(ReasonCode::NotAuthorized);
        let alice = come(broker, lasting(), Verdict::Warranted(Arc::new(warrant())));
        alice.expect_admission(true);
        alice.leave();
    });
}

/// Where the user name is the client id, CONNECT must have the token's: it has chosen the shard.
#[test]
fn a_token_of_another_user_does_not_name_the_client() {
    let terms = Terms { uses_user_name_as_client_id: true, ..Terms::default() };
    let policy = Policy { listeners: vec![terms], ..judged_by(JUDGE) };
    for shards in [1, 2] {
        let broker = Broker::under(shards, Limits::default(), policy.clone());
        let other = come(&broker, Connect::new(V5, "ann"), Verdict::Warranted(Arc::new(warrant())));
        other.expect_refusal(ReasonCode::NotAuthorized);
        let same = Warrant { user: Some("somebody".into()), ..warrant() };
        join(&broker, Connect::new(V5, "ann"), same).leave();
    }
}

/// [MQTT-4.13.1-1]: a client whose token ends is told so and disconnected, keep alive or not; its will is published as that of any lost
/// connection, by the rights that it had.
#[test]
fn a_token_that_ends_ends_its_connection() {
    everywhere(|broker| {
        let watcher = join(broker, Connect::new(V5, "bob"), Warrant { grants: grants(&[], &["#"]), ..warrant() });
        watcher.subscribe("open", Q0);
        let start = broker.now().0;
        for (index, version, keep_alive_secs) in [(0, V5, 0), (1, V311, 0), (2, V5, 600)] {
            let begun = start + index * 400_000;
            let ends_at = begun + 250_000;
            let connect = Connect {
                last_will: Some(will(QoS::AtMostOnce, "open", "gone")),
                keep_alive_secs,
                ..lasting(version, "ann", 3600)
            };
            let ending = Warrant { expires_at: Millis(ends_at), ..warrant() };
            let alice = come(broker, connect, Verdict::Warranted(Arc::new(ending)));
            assert!(alice.is_open());
            alice.hear();
            broker.at_millis(ends_at - 1);
            alice.expect_alive();
            broker.at_millis(ends_at + 200);
            if version == ProtocolVersion::V5 {
                alice.expect_disconnect(ReasonCode::NotAuthorized);
            } else {
                alice.expect_close();
            }
            watcher.expect(qos0("open", "gone"));
            assert_eq!(broker.count(|counters| counters.closed_expired), index + 1);
            broker.at_millis(begun + 400_000);
        }
        watcher.leave();
    });
}

/// Other rights in the next token: what waits is looked at again (case A09), and nothing remembered holds.
#[test]
fn the_next_token_may_have_other_rights() {
    everywhere(|broker| {
        let connect = || Connect { receive_maximum: Some(1), ..lasting(V5, "ann", 3600) };
        let alice = join(broker, connect(), warrant());
        alice.subscribe("#", Q1);
        alice.leave();
        let writer = join(broker, Connect::new(V5, "bob"), Warrant { grants: grants(&["#"], &[]), ..warrant() });
        for packet_id in 1..=3 {
            writer.send(qos1(packet_id, "open", "1"));
            writer.expect(puback(packet_id));
        }
        let less = Warrant { grants: grants(&[], &["home/%u/#"]), ..warrant() };
        let alice = come(broker, connect(), Verdict::Warranted(Arc::new(less)));
        alice.expect_admission(true);
        writer.send(qos1(4, "open", "2"));
        writer.expect(unmatched(puback(4)));
        writer.send(qos1(5, "home/alice/x", "3"));
        alice.expect(qos1(4, "home/alice/x", "3"));
        alice.send(puback(4));
        writer.expect(puback(5));
        alice.expect_nothing();
        assert_eq!(broker.count(|counters| counters.dropped_for(DropReason::Denied)), 3);
        alice.leave();
        writer.leave();
    });
}

/// The same for who came by a password before, whose rights were those of the file.
#[test]
fn a_token_may_have_other_rights_than_the_file() {
    let mut policy = judged_by(JUDGE);
    policy.rules[0].passwords = users(&["alice"]);
    for shards in [1, 2] {
        let broker = Broker::under(shards, Limits::default(), policy.clone());
        let alice = broker.join(as_user(lasting(V5, "ann", 3600), "alice", "ecila"));
        alice.subscribe("#", Q1);
        alice.leave();
        let writer = join(&broker, Connect::new(V5, "bob"), Warrant { grants: grants(&["#"], &[]), ..warrant() });
        writer.send(qos1(1, "file/x", "m"));
        writer.expect(puback(1));
        let alice = come(&broker, lasting(V5, "ann", 3600), Verdict::Warranted(Arc::new(warrant())));
        alice.expect_admission(true);
        alice.expect_nothing();
        assert_eq!(broker.count(|counters| counters.dropped_for(DropReason::Denied)), 1);
        alice.leave();
        writer.leave();
    }
}

/// And back: a token's rights are gone with the connection that it let in.
#[test]
fn who_comes_by_the_password_again_has_the_rights_of_the_file_again() {
    let mut policy = judged_by(JUDGE);
    policy.rules[0].passwords = users(&["alice"]);
    for shards in [1, 2] {
        let broker = Broker::under(shards, Limits::default(), policy.clone());
        join(&broker, lasting(V5, "ann", 3600), warrant()).leave();
        let alice = broker.rejoin(as_user(lasting(V5, "ann", 3600), "alice", "ecila"));
        alice.send(qos1(1, "open", "m"));
        alice.expect(because(ReasonCode::NotAuthorized, puback(1)));
        alice.send(qos1(2, "file/x", "m"));
        alice.expect(unmatched(puback(2)));
        alice.leave();
    }
}

/// Other keys are other judges: who came by the old ones is disconnected and has no last word (case A15); the same ones change nothing.
#[test]
fn a_reload_disconnects_whose_judge_has_gone() {
    everywhere(|broker| {
        let bob = broker.join(as_user(Connect::new(V5, "bob"), "bob", "bob"));
        let connect = Connect { last_will: Some(will(Q0, "open", "gone")), ..Connect::new(V5, "ann") };
        let alice = join(broker, connect, warrant());
        broker.rule(judged_by(JUDGE));
        alice.expect_alive();
        broker.rule(judged_by(JudgeId(8)));
        alice.expect_disconnect(ReasonCode::NotAuthorized);
        bob.expect_alive();
        bob.leave();
    });
}

/// What a token allowed stays retained: nobody can be asked for it again (case A11 is for rights in files).
#[test]
fn what_a_token_allowed_to_retain_stays() {
    everywhere(|broker| {
        let alice = join(broker, Connect::new(V5, "ann"), warrant());
        alice.send(qos0("open", "kept").retained());
        alice.leave();
        let reader = join(broker, Connect::new(V5, "cat"), warrant());
        reader.subscribe("open", Q0);
        reader.expect(qos0("open", "kept").retained());
        reader.leave();
    });
}

/// Rights are charged to the budget of all, and given back with the session.
#[test]
fn rights_cost_what_they_hold() {
    let long = "x/".repeat(2000);
    let limits = Limits { held_bytes_per_shard_max: 3000, ..Limits::default() };
    let broker = Broker::under(1, limits, judged_by(JUDGE));
    let large = Warrant { grants: grants(&[&long], &[]), ..warrant() };
    let refused = come(&broker, Connect::new(V5, "ann"), Verdict::Warranted(Arc::new(large)));
    refused.expect_refusal(ReasonCode::QuotaExceeded);
    assert_eq!(broker.count(|counters| counters.refused_over_budget), 1);
    for _ in 0..20 {
        join(&broker, Connect::new(V5, "ann"), warrant()).leave();
    }
}
