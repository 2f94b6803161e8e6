//! Whole runs against the relay: a faultless broker passes, and every single mistake makes the run fail by its name.

mod relay;

use std::time::Duration;

use relay::{Mistake, Relay};
use ringmq_loadgen::engine;
use ringmq_loadgen::integrity::Tally;
use ringmq_loadgen::plan::{Overrides, Plan};
use ringmq_loadgen::report::Report;
use ringmq_loadgen::scenario::Scenario;
use ringmq_loadgen::wire::Version;

fn flags(relay: &Relay) -> Overrides {
    Overrides {
        port: relay.port,
        warmup: Some(Duration::from_millis(20)),
        duration: Some(Duration::from_millis(80)),
        patience: Duration::from_millis(400),
        idle: true,
        ..Overrides::default()
    }
}

fn run(scenario: &str, mistake: Option<Mistake>, change: impl Fn(&mut Overrides)) -> Result<Report, String> {
    let relay = Relay::start(mistake, || ());
    let mut flags = flags(&relay);
    change(&mut flags);
    let plan = Plan::resolve(Scenario::find(scenario).expect("a shipped scenario"), flags)?;
    Ok(Report::new(&plan, engine::run(&plan)?))
}

/// A stream with one mistake in it, far enough from the end that the next message follows at once.
fn tally_of(mistake: Mistake, qos: u8, version: Version) -> Tally {
    let report = run("stream", Some(mistake), |flags| {
        (flags.qos, flags.protocol, flags.window) = (Some(qos), version, Some(50));
    });
    let report = report.expect("the setup works");
    assert!(!report.passed, "{mistake:?} at QoS {qos} was not seen");
    assert!(!report.notes.is_empty() || report.integrity.lost + report.integrity.unacknowledged > 0);
    report.integrity
}

#[test]
fn a_faultless_broker_passes_every_scenario_at_every_qos_and_version() {
    let shapes = [("stream", 1, 1), ("fanin", 20, 1), ("fanout", 1, 20), ("pairs", 10, 10)];
    let deep = [("fanin-deep", 20, 1), ("fanout-deep", 1, 20), ("pairs-deep", 10, 10)];
    for (scenario, publishers, subscribers) in shapes.into_iter().chain(deep) {
        for qos in 0..3 {
            for protocol in [Version::V311, Version::V5] {
                let report = run(scenario, None, |flags| {
                    (flags.publishers, flags.subscribers) = (Some(publishers), Some(subscribers));
                    (flags.qos, flags.protocol) = (Some(qos), protocol);
                });
                let report = report.expect("the setup works");
                let case = format!("{scenario} QoS {qos} {protocol:?}\n{report}");
                assert!(report.passed, "{case}");
                assert!(report.arrived > 0 && report.arrived == report.expected, "{case}");
                assert!(report.latency.is_some_and(|latency| latency.p50_us > 0.0), "{case}");
            }
        }
    }
}

/// The scenarios of more than one kind of client or filter, cut down to what a test has time for.
fn cut_down(scenario: &str, flags: &mut Overrides) {
    match scenario {
        "fanout-paced" => (flags.subscribers, flags.rate) = (Some(20), Some(500)),
        "latency" => flags.rate = Some(5_000),
        "big" => flags.duration = Some(Duration::from_millis(150)),
        "wild" => (flags.topics, flags.subscribers) = (Some(150), Some(40)),
        "shared" | "shared-deep" => flags.subscribers = Some(7),
        "slow" => (flags.subscribers, flags.rate) = (Some(10), Some(2_000)),
        "fleet" => {
            (flags.devices, flags.rate, flags.reconnects_per_sec) = (Some(20), Some(4_000), Some(150));
            flags.duration = Some(Duration::from_millis(180));
            if flags.qos == Some(0) {
                flags.reconnects_per_sec = Some(0);
            }
        }
        _ => (),
    }
}

fn run_cut_down(scenario: &str, mistake: Option<Mistake>, qos: u8, threads: usize, protocol: Version) -> Report {
    let report = run(scenario, mistake, |flags| {
        (flags.qos, flags.threads, flags.protocol) = (Some(qos), threads, protocol);
        cut_down(scenario, flags);
    });
    report.expect("the setup works")
}

#[test]
fn a_faultless_broker_passes_groups_trees_fleets_and_standstills_at_every_qos_and_version() {
    for scenario in ["fanout-paced", "latency", "big", "wild", "shared", "shared-deep", "slow", "fleet"] {
        for qos in 0..3 {
            for (protocol, threads) in [(Version::V311, 1), (Version::V5, 2)] {
                let report = run_cut_down(scenario, None, qos, threads, protocol);
                let case = format!("{scenario} QoS {qos} {protocol:?}\n{report}");
                assert!(report.passed, "{case}");
                assert!(report.arrived > 0 && report.arrived == report.expected, "{case}");
                assert_eq!(report.reconnects > 0, scenario == "fleet" && qos > 0, "{case}");
                assert_eq!((report.stalled_missed, report.stalled_closed), (0, 0), "{case}");
            }
        }
    }
}

#[test]
fn every_mistake_is_seen_in_groups_trees_and_fleets() {
    for scenario in ["wild", "shared", "fleet"] {
        for qos in 0..3 {
            for threads in [1, 2] {
                let tally = |mistake| {
                    let report = run_cut_down(scenario, Some(mistake), qos, threads, Version::V5);
                    assert!(!report.passed, "{mistake:?} in {scenario} at QoS {qos} was not seen\n{report}");
                    report.integrity
                };
                let none = Tally::default();
                assert_eq!(tally(Mistake::Drop(40)), Tally { lost: 1, ..none }, "{scenario} {qos}");
                assert_eq!(tally(Mistake::Duplicate(40)), Tally { duplicated: 1, ..none }, "{scenario} {qos}");
                assert_eq!(tally(Mistake::Alter(40)), Tally { altered: 1, ..none }, "{scenario} {qos}");
                assert_eq!(tally(Mistake::Retain(40)), Tally { altered: 1, ..none }, "{scenario} {qos}");
            }
        }
    }
}

/// [MQTT-4.6.0-5], and section 4.8.2 of 5.0 for members of a group.
#[test]
fn two_messages_of_a_topic_that_change_places_are_seen_by_a_member_and_a_device() {
    for qos in 0..3 {
        // One topic, so that the next message to a member follows the one held back on its own topic.
        let report = run("shared", Some(Mistake::Swap(40)), |flags| {
            (flags.qos, flags.publishers, flags.subscribers) = (Some(qos), Some(1), Some(3));
        });
        assert_eq!(report.expect("the setup works").integrity, Tally { reordered: 1, ..Tally::default() });
        let report = run("fleet", Some(Mistake::Swap(40)), |flags| {
            (flags.qos, flags.publishers, flags.subscribers, flags.devices) = (Some(qos), Some(1), Some(1), Some(1));
            (flags.rate, flags.reconnects_per_sec) = (Some(4_000), Some(0));
        });
        assert_eq!(report.expect("the setup works").integrity, Tally { reordered: 1, ..Tally::default() });
    }
}

#[test]
fn a_message_to_those_it_is_not_for_is_seen_in_trees_and_fleets() {
    for (scenario, others) in [("wild", 20), ("fleet", 20)] {
        let report = run_cut_down(scenario, Some(Mistake::Stray(40)), 1, 1, Version::V5);
        assert!(report.integrity.unexpected > others / 2, "{report}");
    }
}

/// Section 4.8.2 of 5.0: exactly one member gets a message.
#[test]
fn a_message_to_two_members_of_a_group_is_a_duplicate_whichever_threads_they_live_in() {
    for threads in [1, 2] {
        let report = run_cut_down("shared", Some(Mistake::Echo(40)), 1, threads, Version::V5);
        assert_eq!(report.integrity, Tally { duplicated: 1, ..Tally::default() }, "{report}");
        assert_eq!(report.arrived, report.expected, "{report}");
        assert!(!report.notes.is_empty(), "{report}");
    }
}

#[test]
fn plain_subscribers_beside_a_group_get_everything() {
    let text = "name = 'mixed'\nabout = 'a group and two others'\npublishers = 2\nsubscribers = 6\nwindow = 20\n\
                topic = '{run}/{publisher}'\nfilters = ['$share/g/{run}/+', '$share/g/{run}/+', '{run}/#']";
    for (mistake, lost) in
        [(None, 0), (Some(Mistake::Drop(60)), 1), (Some(Mistake::Drop(61)), 1), (Some(Mistake::Drop(62)), 1)]
    {
        let relay = Relay::start(mistake, || ());
        let flags = Overrides { threads: 2, qos: Some(1), ..flags(&relay) };
        let plan = Plan::resolve(Scenario::parse(text).expect("a scenario"), flags).expect("it resolves");
        let report = Report::new(&plan, engine::run(&plan).expect("the setup works"));
        assert_eq!(report.integrity, Tally { lost, ..Tally::default() }, "{report}");
        assert_eq!((report.expected, report.arrived), (3 * report.sent, 3 * report.sent - lost), "{report}");
    }
}

/// Sections 3.2.2.2 and 4.4.
#[test]
fn a_session_that_is_forgotten_or_denied_is_seen() {
    for qos in [1, 2] {
        let report = run_cut_down("fleet", Some(Mistake::Forget(1)), qos, 1, Version::V311);
        assert_eq!(report.integrity, Tally { lost: 1, ..Tally::default() }, "{report}");
        let report = run_cut_down("fleet", Some(Mistake::Deny(2)), qos, 1, Version::V5);
        assert_eq!(report.integrity, Tally { protocol_errors: 1, ..Tally::default() }, "{report}");
    }
}

#[test]
fn what_a_stalled_subscriber_misses_is_reported_and_no_fault() {
    let stalled =
        |mistake: fn(u64) -> Mistake, delivery| run_cut_down("slow", Some(mistake(delivery)), 1, 1, Version::V5);
    // Ten subscribers, the last of which is stalled: every tenth delivery is its.
    let report = stalled(Mistake::Drop, 49);
    assert!(report.passed && report.stalled_missed == 1 && report.stalled_closed == 0, "{report}");
    let report = stalled(Mistake::Close, 49);
    assert!(report.passed && report.stalled_missed > 0 && report.stalled_closed == 1, "{report}");
    let report = stalled(Mistake::Duplicate, 49);
    assert_eq!(report.integrity, Tally { duplicated: 1, ..Tally::default() }, "{report}");
    let report = stalled(Mistake::Alter, 49);
    assert_eq!(report.integrity, Tally { altered: 1, ..Tally::default() }, "{report}");
    let report = stalled(Mistake::Drop, 48);
    assert_eq!(report.integrity, Tally { lost: 1, ..Tally::default() }, "{report}");
}

#[test]
fn threads_share_the_clients_and_lose_nothing() {
    for (qos, rate) in [(0, 0), (1, 0), (2, 20_000)] {
        let report = run("fanin", None, |flags| {
            (flags.threads, flags.publishers, flags.subscribers) = (3, Some(10), Some(2));
            (flags.qos, flags.rate) = (Some(qos), Some(rate));
        });
        let report = report.expect("the setup works");
        assert!(report.integrity_passed && report.arrived == 2 * report.sent && report.sent > 0, "{report}");
    }
}

#[test]
fn large_payloads_arrive_whole() {
    let report = run("stream", None, |flags| (flags.payload_bytes, flags.window) = (Some(300_000), Some(3)));
    let report = report.expect("the setup works");
    assert!(report.passed && report.sent > 3, "{report}");
}

#[test]
fn a_paced_run_sends_what_the_rate_says() {
    let report = run("pairs", None, |flags| {
        (flags.rate, flags.publishers, flags.subscribers) = (Some(2_000), Some(4), Some(4));
        flags.duration = Some(Duration::from_millis(480));
    });
    let report = report.expect("the setup works");
    // 500 ms of warm-up and window at 2,000/s.
    assert!(report.integrity_passed && report.sent + report.unsent == 1_000 && report.sent > 500, "{report}");
    assert_eq!(report.rate_reached, Some(report.unsent == 0));
}

#[test]
fn idle_connections_are_held_and_asked_at_the_end() {
    let report = run("connect", None, |flags| {
        (flags.connections, flags.broker_pid) = (Some(100), Some(std::process::id()));
    });
    let report = report.expect("the setup works");
    assert!(report.passed, "{report}");
    assert!(report.broker.is_some_and(|broker| broker.fds > Some(200)), "{report}");
}

#[test]
fn a_dropped_message_fails_the_run() {
    for version in [Version::V311, Version::V5] {
        for qos in 0..3 {
            let tally = tally_of(Mistake::Drop(40), qos, version);
            assert_eq!(tally, Tally { lost: 1, ..Tally::default() });
        }
    }
}

#[test]
fn a_duplicated_message_fails_the_run() {
    for qos in 0..3 {
        let tally = tally_of(Mistake::Duplicate(40), qos, Version::V311);
        assert_eq!(tally, Tally { duplicated: 1, ..Tally::default() });
    }
}

#[test]
fn two_swapped_messages_fail_the_run() {
    for qos in 0..3 {
        let tally = tally_of(Mistake::Swap(40), qos, Version::V5);
        assert_eq!(tally, Tally { reordered: 1, ..Tally::default() });
    }
}

#[test]
fn a_changed_byte_or_flag_fails_the_run() {
    for mistake in [Mistake::Alter(40), Mistake::Retain(40)] {
        let tally = tally_of(mistake, 1, Version::V311);
        assert_eq!(tally, Tally { altered: 1, ..Tally::default() });
    }
}

#[test]
fn a_message_at_the_wrong_subscriber_fails_the_run() {
    let report = run("pairs", Some(Mistake::Stray(40)), |flags| {
        (flags.publishers, flags.subscribers) = (Some(3), Some(3));
    });
    let report = report.expect("the setup works");
    assert_eq!(report.integrity, Tally { unexpected: 2, ..Tally::default() });
}

#[test]
fn a_missing_acknowledgement_fails_the_run() {
    for qos in [1, 2] {
        let tally = tally_of(Mistake::Mute(40), qos, Version::V5);
        assert_eq!(tally, Tally { unacknowledged: 1, ..Tally::default() });
    }
}

/// Sections 3.4.2.1 and 3.5.2.1 of 5.0.
#[test]
fn a_refused_message_fails_the_run() {
    for qos in [1, 2] {
        let tally = tally_of(Mistake::Refuse(40), qos, Version::V5);
        assert_eq!((tally.refused, tally.lost, tally.unacknowledged), (1, 1, 0));
    }
}

#[test]
fn a_closed_connection_fails_the_run() {
    let tally = tally_of(Mistake::Close(40), 0, Version::V311);
    assert_eq!(tally.connections_lost, 1);
    assert!(tally.lost > 0);
}

#[test]
fn a_setup_that_cannot_work_is_one_sentence() {
    let refused = run("stream", Some(Mistake::Unwelcome(5)), |_| ()).expect_err("CONNECT is refused");
    assert!(refused.contains("refused CONNECT with code 0x05"), "{refused}");
    let silent = run("stream", Some(Mistake::Silent), |_| ()).expect_err("CONNECT is not answered");
    assert!(silent.contains("gave no answer for 0.4 s (0 of 2 clients"), "{silent}");
    let nobody = run("stream", None, |flags| (flags.port, flags.threads) = (1, 2)).expect_err("nobody listens");
    assert!(nobody.contains("127.0.0.1:1") && nobody.contains("refused"), "{nobody}");
    let nameless = run("stream", None, |flags| flags.host = "no.such.host.invalid".to_owned());
    assert!(nameless.expect_err("no such host").contains("cannot resolve"));
    let ghost = run("stream", None, |flags| flags.broker_pid = Some(u32::MAX)).expect_err("no such process");
    assert!(ghost.contains("cannot measure process"), "{ghost}");
}
