//! Keep alive (section 3.1.2.10).
//!
//! Duty: who is closed for silence, and when. Must not: test CONNECT's own deadline (`connect`). Neighbours: `peer`.

use ringmq::limits::Limits;
use ringmq::wire::{Connect, Packet, ProtocolVersion, ReasonCode};

use super::broker::{Broker, everywhere, everywhere_with};
use super::packets::*;

fn every(keep_alive_secs: u16, version: ProtocolVersion, client_id: &str) -> Connect<'_> {
    Connect { keep_alive_secs, ..Connect::new(version, client_id) }
}

/// [MQTT-3.1.2-11] [MQTT-3.1.2-22] [v3.1.1 MQTT-3.1.2-24], case T14: not before one and a half times the keep alive, and soon after.
#[test]
fn a_silent_client_is_closed_after_one_and_a_half_keep_alives() {
    for version in DIALECTS {
        everywhere(|broker| {
            let bob = broker.join(every(10, version, "bob"));
            broker.at_millis(14_999);
            bob.expect_nothing();
            broker.at_millis(15_100);
            bob.expect_disconnect(ReasonCode::KeepAliveTimeout);
        });
    }
}

/// [MQTT-3.1.2-22]: where the end lies on a slot of the wheel, it is met to the millisecond.
#[test]
fn the_time_is_over_when_it_is_reached() {
    everywhere(|broker| {
        let bob = broker.join(every(16, V5, "bob"));
        broker.at_millis(23_999);
        bob.expect_nothing();
        broker.at_millis(24_000);
        bob.expect_disconnect(ReasonCode::KeepAliveTimeout);
    });
}

/// [MQTT-3.1.2-20] [v3.1.1 MQTT-3.1.2-23]: any packet counts.
#[test]
fn any_packet_keeps_a_client_alive() {
    everywhere(|broker| {
        let bob = broker.join(every(10, V5, "bob"));
        let said: [&dyn Say; 6] = [
            &Packet::Pingreq,
            &qos0("nobody", "x"),
            &puback(77),
            &subscribe(1).to("a", Q0),
            &unsubscribe(1, &["a"]),
            &pubcomp(9),
        ];
        for (turn, packet) in said.iter().enumerate() {
            broker.at_millis(14_900 * (turn as u64 + 1));
            bob.send(*packet);
        }
        bob.expect_all(&[&Packet::Pingresp, &suback(1, &[0]), &unsuback(1, &[0])]);
        broker.at_millis(14_900 * 6 + 14_900);
        bob.expect_alive();
    });
}

/// [MQTT-3.1.2-22], case R02: a packet counts when it is whole.
#[test]
fn bytes_that_are_no_packet_do_not_keep_a_client_alive() {
    everywhere(|broker| {
        let bob = broker.join(every(10, V5, "bob"));
        for (turn, byte) in qos0("a", "0123456789").bytes(V5).iter().enumerate().take(10) {
            broker.at(turn as u64 * 2);
            bob.send_bytes(&[*byte]);
        }
        bob.expect_disconnect(ReasonCode::KeepAliveTimeout);
    });
}

/// [MQTT-3.1.2-22]: what the broker sends does not count.
#[test]
fn messages_to_a_silent_client_do_not_keep_it_alive() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        let bob = broker.join(every(10, V5, "bob"));
        bob.subscribe("a", Q0);
        for second in 1..=16 {
            broker.at(second);
            ann.send(qos0("a", "x"));
        }
        (1..=15).for_each(|_| bob.expect(qos0("a", "x")));
        bob.expect_disconnect(ReasonCode::KeepAliveTimeout);
    });
}

/// Section 3.1.2.10, case S17: 0 turns the keep alive off; what is left is the bound on idleness.
#[test]
fn a_keep_alive_of_zero_lasts_until_the_idle_limit() {
    let limits = Limits { idle_secs_max: 1000, ..Limits::default() };
    for version in DIALECTS {
        everywhere_with(&limits, |broker| {
            let bob = broker.join(every(0, version, "bob"));
            broker.at(999);
            bob.expect_alive();
            broker.at(1998);
            bob.expect_nothing();
            broker.at(2000);
            bob.expect_disconnect(ReasonCode::KeepAliveTimeout);
        });
    }
}

/// [MQTT-3.1.2-21]: the keep alive that the broker set holds.
#[test]
fn the_servers_keep_alive_is_the_one_that_holds() {
    let limits = Limits { keep_alive_secs_max: 10, ..Limits::default() };
    everywhere_with(&limits, |broker| {
        let bob = broker.join(every(60_000, V5, "bob"));
        broker.at(16);
        bob.expect_disconnect(ReasonCode::KeepAliveTimeout);
        let old = broker.join(every(60, V311, "bob"));
        broker.at(16 + 80);
        old.expect_nothing();
        broker.at(16 + 91);
        old.expect_close();
    });
}

/// [MQTT-3.1.2-22]: the longest keep alive is far beyond one round of the timers.
#[test]
fn the_longest_keep_alive_is_kept_to_the_second() {
    let broker = Broker::of_two();
    let bob = broker.join(every(u16::MAX, V5, "bob"));
    let due = u64::from(u16::MAX) * 1500;
    broker.at_millis(due - 1);
    bob.expect_nothing();
    broker.at_millis(due + 100);
    bob.expect_disconnect(ReasonCode::KeepAliveTimeout);
}

/// [MQTT-3.1.2-22]: the deadline of a connection that was taken over does not close its successor.
#[test]
fn an_old_deadline_does_not_close_a_new_connection() {
    everywhere(|broker| {
        let first = broker.join(every(10, V5, "bob"));
        broker.at(14);
        first.vanish();
        let second = broker.join(every(10, V5, "bob"));
        broker.at(28);
        second.expect_alive();
    });
}
