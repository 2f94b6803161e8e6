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
    let small: [(&str, u32, u32); 4] = [("stream", 1, 1), ("fanin", 20, 1), ("fanout", 1, 20), ("pairs", 10, 10)];
    for (scenario, publishers, subscribers) in small {
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

#[test]
fn threads_share_the_clients_and_lose_nothing() {
    for (qos, rate) in [(0, 0), (1, 0), (2, 20_000)] {
        let report = run("fanin", None, |flags| {
            (flags.threads, flags.publishers, flags.subscribers) = (3, Some(10), Some(2));
            (flags.qos, flags.rate) = (Some(qos), Some(rate));
        });
        let report = report.expect("the setup works");
        assert!(report.passed && report.arrived == 2 * report.sent && report.sent > 0, "{report}");
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
    assert!(report.passed && report.sent + report.unsent == 1_000 && report.sent > 500, "{report}");
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
