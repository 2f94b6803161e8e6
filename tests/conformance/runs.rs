//! Many packets at once: taken side by side they do what they do one by one.
//!
//! Duty: play the same random scripts to brokers that take rows of packets together and to brokers that cannot, and hold what
//! everybody hears, all counters and all sizes against each other. Must not: say what is right (every other file does).
//! Neighbours: `script` draws and plays.

use proptest::prelude::*;

use super::packets::V5;
use super::peer::decode;
use super::script::{Cut, Heard, Moment, Way, play, scripts};
use ringmq::shard::Sizes;
use ringmq::wire::{Ack, AckKind, Packet};

/// As it is meant to be.
const TOGETHER: Way = Way { remembers: true, cut: Cut::Nowhere, is_spelled: false };

fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::default() }
}

/// Where two moments differ.
fn difference(one: &[Moment], other: &[Moment], is_same: fn(&Moment, &Moment) -> bool) -> Option<String> {
    assert_eq!(one.len(), other.len(), "both have seen the whole script");
    let differing = one.iter().zip(other).enumerate().find(|(_, (one, other))| !is_same(one, other));
    differing.map(|(act, (one, other))| format!("after act {act}:\n{}\n{}", show(one), show(other)))
}

fn show(moment: &Moment) -> String {
    let heard = moment.heard.iter().filter(|heard| !heard.packets.is_empty() || !heard.is_open);
    let lines = heard.map(|Heard { client, packets, is_open }| {
        let packets: Vec<String> =
            packets.iter().map(|packet| format!("{:02x?}", &packet[..packet.len().min(24)])).collect();
        format!("  {client}, open {is_open}: {}", packets.join(" "))
    });
    let lines: Vec<String> = lines.collect();
    format!("{}\n  {:?}\n  {:?}", lines.join("\n"), moment.counters, moment.sizes)
}

/// What a client heard when it had acknowledged many messages. A row of acknowledgements is taken before the messages are sent that
/// it has made room for; one by one, each makes room for a message at once. So PUBLISH packets may change places with answers
/// (PUBREL, PUBCOMP), and a PUBREL that is repeated on a new connection, which waits for room as messages do, with PUBREL packets
/// that answer. All else keeps its order: messages among themselves, answers among themselves.
fn apart(heard: &Heard) -> [Vec<&[u8]>; 3] {
    let (mut publishes, mut pubrels, mut others) = (Vec::new(), Vec::new(), Vec::new());
    for packet in &heard.packets {
        match decode(packet, V5) {
            _ if packet[0] >> 4 == 3 => publishes.push(&packet[..]),
            Ok(Packet::Ack(Ack { kind: AckKind::Pubrel, .. })) => pubrels.push(&packet[..]),
            _ => others.push(&packet[..]),
        }
    }
    pubrels.sort_unstable();
    [publishes, pubrels, others]
}

fn is_same_but_for_places(one: &Moment, other: &Moment) -> bool {
    let is_same = |(heard, of_other): (&Heard, &Heard)| {
        heard == of_other
            || one.acknowledger == Some(heard.client)
                && (heard.client, heard.is_open) == (of_other.client, of_other.is_open)
                && apart(heard) == apart(of_other)
    };
    // Who waited for a queue and was answered because another has taken the message is struck off when the queue has room.
    let sizes = |moment: &Moment| Sizes { acks_withheld: 0, ..moment.sizes };
    (&one.counters, sizes(one), one.heard.len()) == (&other.counters, sizes(other), other.heard.len())
        && one.heard.iter().zip(&other.heard).all(is_same)
}

proptest! {
    #![proptest_config(config())]

    /// Byte for byte, also for slow readers and at every bound: a broker that knows topics again, one that never does, and one
    /// that gets the bytes packet by packet or cut in the middle of packets. Acknowledgements side by side stay together here.
    #[test]
    fn a_run_of_publishes_does_what_its_packets_do(script in scripts(false)) {
        let together = play(&script, TOGETHER);
        let mut ways = vec![Way { remembers: false, ..TOGETHER }];
        if script.may_be_cut() {
            ways.push(Way { cut: Cut::BetweenPackets, ..TOGETHER });
            ways.push(Way { cut: Cut::InPackets, ..TOGETHER });
        }
        for way in ways {
            let difference = difference(&together, &play(&script, way), |one, other| one == other);
            prop_assert!(difference.is_none(), "{way:?} {}", difference.unwrap_or_default());
        }
    }

    /// Acknowledgements side by side do what they do one by one, but for the places of what is sent then. Everybody reads, as where
    /// a bound of egress stops the sending depends on what was put there first.
    #[test]
    fn a_row_of_acknowledgements_does_what_its_packets_do(script in scripts(true)) {
        let together = play(&script, TOGETHER);
        let mut ways = vec![Way { remembers: false, is_spelled: true, ..TOGETHER }];
        if script.may_be_cut() {
            ways.push(Way { cut: Cut::BetweenAll, ..TOGETHER });
        }
        for way in ways {
            let difference = difference(&together, &play(&script, way), is_same_but_for_places);
            prop_assert!(difference.is_none(), "{way:?} {}", difference.unwrap_or_default());
        }
    }
}
