//! What clients do when left to themselves.
//!
//! Duty: draw each client's nature and its next act. Must not: know the protocol's rules (`client` keeps them). Neighbours:
//! `world` lets each client act.

use ringmq::id::Millis;
use ringmq::wire::{PINGREQ, ProtocolVersion, QoS, RetainHandling, SubscriptionOptions};

use crate::client::{Client, Desk, Nature, Phase};
use crate::line::{Asked, Goodbye};
use crate::plan::Plan;
use crate::random::Random;

const QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
const PLAIN_FILTERS: [&str; 7] = ["t/#", "t/+", "t/0", "t/1", "r/#", "r/+", "r/0"];
const SHARED_FILTERS: [&str; 2] = ["$share/one/s/#", "$share/two/u/+"];

/// The client that sees every will, and is never disturbed.
pub(crate) const WATCHER: usize = 0;

/// The nature of client `index`.
pub(crate) fn draw_nature(index: usize, plan: &Plan, random: &mut Random) -> Nature {
    let version = random.pick(&[ProtocolVersion::V31, ProtocolVersion::V311, ProtocolVersion::V5, ProtocolVersion::V5]);
    Nature {
        name: format!("client-{}-{index}", plan.seed),
        version: if index == WATCHER { ProtocolVersion::V5 } else { version },
        keep_alive_secs: if index == WATCHER { 0 } else { random.pick(&[0, 0, 1, 30]) },
        receive_maximum: random.pick(&[1, 2, 10, 1000]),
        alias_max: random.pick(&[0, 1, 20]),
        packet_bytes_max: random.pick(&[None, None, None, Some(60), Some(200)]).filter(|_| index != WATCHER),
        is_slow: index != WATCHER && random.chance(25),
        shuffles_acks: random.chance(20),
    }
}

/// What a new connection asks for.
pub(crate) fn draw_asked(client: &Client, random: &mut Random) -> Asked {
    let is_v5 = client.nature.version == ProtocolVersion::V5;
    // Most clients mean to keep their session.
    let is_keeper = client.index % 3 != 2;
    let is_clean = random.chance(if is_keeper { 5 } else { 80 });
    let expiry_secs = match is_v5 {
        true => random.pick(if is_keeper { &[1, 3600, u32::MAX] } else { &[0, 0, 1] }),
        false if is_clean => 0,
        false => u32::MAX,
    };
    let will_delay_secs = random.chance(50).then(|| if is_v5 { random.pick(&[0, 0, 1, 5, u32::MAX]) } else { 0 });
    Asked {
        is_clean,
        expiry_secs,
        will_delay_secs,
        receive_maximum: if is_v5 { client.nature.receive_maximum } else { u16::MAX },
        alias_max: if is_v5 { client.nature.alias_max } else { 0 },
        packet_bytes_max: client.nature.packet_bytes_max.filter(|_| is_v5),
    }
}

/// One act of one client.
pub(crate) fn act(client: &mut Client, desk: &mut Desk<'_>) {
    match client.phase {
        Phase::Off => {
            if client.index != WATCHER && client.is_stalled_until <= desk.now && desk.random.chance(20) {
                connect(client, desk);
            }
        }
        Phase::Connecting => {
            if client.index != WATCHER && desk.random.below(2000) < desk.plan.churn_permille {
                client.lose(desk);
            }
        }
        Phase::On => act_connected(client, desk),
    }
}

pub(crate) fn connect(client: &mut Client, desk: &mut Desk<'_>) {
    let mut asked = draw_asked(client, desk.random);
    if desk.plan.crash_percent > 0 {
        asked = Asked { is_clean: false, expiry_secs: u32::MAX, will_delay_secs: None, ..asked };
    }
    let will_qos = desk.random.pick(&[QoS::AtLeastOnce, QoS::ExactlyOnce]);
    client.connect(asked, will_qos, desk);
}

fn act_connected(client: &mut Client, desk: &mut Desk<'_>) {
    let acks = desk.random.below(4);
    client.send_acks(acks, desk);
    if client.index == WATCHER {
        client.send_acks(usize::MAX, desk);
        return;
    }
    if desk.random.below(1000) < desk.plan.churn_permille {
        leave(client, desk);
        return;
    }
    match desk.random.below(100) {
        0..50 => publish(client, desk),
        50..58 => subscribe(client, desk),
        58..62 => unsubscribe(client, desk),
        62..65 if client.nature.is_slow => {
            client.is_stalled_until = desk.now.after_millis(desk.random.between(1, 400));
        }
        65..70 => ping(client, desk),
        _ => {
            let silent_millis = desk.now.0 - client.spoke_at.0;
            if client.nature.keep_alive_secs > 0 && silent_millis > 500 && desk.random.chance(90) {
                ping(client, desk);
            }
        }
    }
}

pub(crate) fn ping(client: &mut Client, desk: &mut Desk<'_>) {
    let line = client.line.expect("on");
    desk.lines[line].to_server.extend(PINGREQ);
    client.spoke_at = desk.now;
}

fn leave(client: &mut Client, desk: &mut Desk<'_>) {
    let line = client.line.expect("on");
    match desk.random.below(5) {
        0 => {
            let is_v5 = client.nature.version == ProtocolVersion::V5;
            let may_change = is_v5 && desk.lines[line].asked.expiry_secs > 0 && desk.random.chance(30);
            let may_change = may_change && desk.plan.crash_percent == 0;
            let goodbye = Goodbye {
                expiry_secs: may_change.then(|| desk.random.pick(&[0, 1, 100])),
                with_will: is_v5 && desk.random.chance(30),
            };
            client.disconnect(goodbye, desk);
        }
        1 => client.lose(desk),
        2 => {
            // The last packet leaves in part.
            publish(client, desk);
            client.lose(desk);
        }
        3 => {
            client.desert(desk);
            client.is_stalled_until = desk.now.after_millis(desk.random.between(0, 6000));
        }
        _ => {
            let is_storm = desk.random.chance(desk.plan.storm_percent);
            let connections = if is_storm { desk.random.between(2, 6) } else { 1 };
            (0..connections).for_each(|_| connect(client, desk));
        }
    }
}

fn publish(client: &mut Client, desk: &mut Desk<'_>) {
    let mut qos = desk.random.pick(&QOS);
    if !client.may_publish() {
        qos = QoS::AtMostOnce;
    }
    let random = &mut *desk.random;
    let padding = match random.below(100) {
        0..3 => 5000,
        3..20 => random.below(200),
        _ => random.below(10),
    };
    let kind = random.below(100);
    let place = random.below(3);
    match kind {
        0..60 => {
            let expiry_secs = random.chance(15).then(|| random.pick(&[0, 1, 60]));
            client.publish(&format!("t/{place}"), qos, false, Some(padding), expiry_secs, desk)
        }
        60..80 => {
            let expiry_secs = random.chance(20).then(|| random.pick(&[1, 2]));
            let padding = (!random.chance(15)).then_some(padding);
            client.publish(&format!("r/{place}"), qos, true, padding, expiry_secs, desk)
        }
        80..90 => client.publish(&format!("s/{place}"), qos, false, Some(padding), None, desk),
        90..98 => client.publish(&format!("u/{place}"), qos, false, Some(padding), None, desk),
        _ => client.publish("$denied/x", qos, false, Some(padding), None, desk),
    };
}

fn subscribe(client: &mut Client, desk: &mut Desk<'_>) {
    let is_v5 = client.nature.version == ProtocolVersion::V5;
    let mut filters = Vec::new();
    for _ in 0..desk.random.pick(&[1, 1, 2, 3]) {
        let random = &mut *desk.random;
        let is_shared = random.chance(25);
        let filter = if is_shared { random.pick(&SHARED_FILTERS) } else { random.pick(&PLAIN_FILTERS) };
        let options = SubscriptionOptions {
            qos: random.pick(&QOS),
            // The same for a client's subscriptions of all times, so that the observer knows which holds.
            no_local: is_v5 && !is_shared && client.index == 4,
            retain_as_published: is_v5 && client.index == 5,
            retain_handling: if is_v5 {
                random.pick(&[RetainHandling::SendAtSubscribe, RetainHandling::SendIfNew, RetainHandling::DoNotSend])
            } else {
                RetainHandling::SendAtSubscribe
            },
        };
        if filters.iter().all(|(known, _)| known != filter) {
            filters.push((filter.to_owned(), options));
        }
    }
    let subscription_id = desk.random.chance(30).then(|| desk.random.between(1, 300) as u32);
    client.subscribe(&filters, subscription_id, desk);
}

fn unsubscribe(client: &mut Client, desk: &mut Desk<'_>) {
    if client.filters.is_empty() {
        return;
    }
    let at = desk.random.below(client.filters.len());
    let filter = client.filters.iter().nth(at).expect("not empty").clone();
    client.unsubscribe(&filter, desk);
}

/// A long time ago, for clients that never stall.
pub(crate) const NEVER: Millis = Millis(0);
