//! Staged runs against a broker that keeps messages: a faultless one passes and is left as it was found, and every
//! single mistake makes the run fail by its name.

mod keeper;

use std::time::Duration;

use keeper::{Keeper, Mistake};
use ringmq_loadgen::engine::{self, Outcome, Snapshot};
use ringmq_loadgen::integrity::Tally;
use ringmq_loadgen::plan::{Overrides, Plan};
use ringmq_loadgen::report::Report;
use ringmq_loadgen::scenario::Scenario;
use ringmq_loadgen::wire::Version;

const MESSAGES: u64 = 300;

fn plan(scenario: &str, keeper: &Keeper, change: impl Fn(&mut Overrides)) -> Result<Plan, String> {
    let mut flags = Overrides {
        port: keeper.port,
        messages: Some(MESSAGES),
        patience: Duration::from_millis(300),
        idle: true,
        ..Overrides::default()
    };
    change(&mut flags);
    Plan::resolve(Scenario::find(scenario).expect("a shipped scenario"), flags)
}

fn at(qos: u8, version: Version) -> impl Fn(&mut Overrides) {
    move |flags| (flags.qos, flags.protocol) = (Some(qos), version)
}

fn run(scenario: &str, mistake: Mistake, change: impl Fn(&mut Overrides)) -> Result<(Report, Keeper), String> {
    let keeper = Keeper::start(Some(mistake));
    let plan = plan(scenario, &keeper, change)?;
    Ok((Report::new(&plan, engine::run(&plan)?), keeper))
}

/// Runs with one mistake, far enough from the end that the next message follows at once.
fn tally_of(scenario: &str, mistake: Mistake, qos: u8, version: Version) -> Tally {
    let (report, keeper) = run(scenario, mistake, at(qos, version)).expect("the setup works");
    assert!(!report.passed, "{scenario} at QoS {qos}: {mistake:?} was not seen");
    assert!(!report.notes.is_empty() || report.integrity.lost + report.integrity.unacknowledged > 0);
    assert_eq!(keeper.holds(), (0, 0), "{scenario}: {mistake:?} left something behind");
    report.integrity
}

/// Every scenario, QoS and version a staged run can have.
fn cases() -> Vec<(&'static str, u8, Version)> {
    let all = [("retain", 0), ("retain", 1), ("retain", 2), ("offline", 1), ("offline", 2)];
    all.iter().flat_map(|&(name, qos)| [(name, qos, Version::V311), (name, qos, Version::V5)]).collect()
}

/// One kind of mistake, in every case that has it.
fn each_fails_by_its_name(scenario: Option<&str>, mistake: Mistake, expected: Tally) {
    for (name, qos, version) in cases() {
        if scenario.is_none_or(|wanted| wanted == name) {
            assert_eq!(tally_of(name, mistake, qos, version), expected, "{name} QoS {qos} {version:?}: {mistake:?}");
        }
    }
}

fn phases(outcome: &Outcome) -> Vec<(&'static str, u64)> {
    outcome.phases.iter().map(|phase| (phase.name, phase.count)).collect()
}

#[test]
fn a_faultless_broker_passes_at_every_qos_and_version_and_keeps_nothing() {
    for (name, qos, version) in cases() {
        let keeper = Keeper::start(None);
        let plan = plan(name, &keeper, at(qos, version)).expect("it resolves");
        let outcome = engine::run(&plan).expect("the setup works");
        let expected: &[_] = match name {
            "retain" => &[("store", MESSAGES), ("replay", MESSAGES), ("clear", MESSAGES)],
            _ => &[("store", MESSAGES), ("drain", MESSAGES)],
        };
        assert_eq!(phases(&outcome), expected);
        let report = Report::new(&plan, outcome);
        assert!(report.passed, "{name} QoS {qos} {version:?}\n{report}");
        assert_eq!((report.sent, report.expected, report.arrived), (MESSAGES, MESSAGES, MESSAGES), "{report}");
        assert!(report.delivered_per_sec > 0.0 && report.latency.is_none(), "{report}");
        assert_eq!(keeper.holds(), (0, 0));
    }
}

#[test]
fn phases_follow_each_other_and_the_window_is_the_one_that_delivers() {
    let keeper = Keeper::start(None);
    let plan = plan("retain", &keeper, |flags| flags.broker_pid = Some(std::process::id())).expect("it resolves");
    let outcome = engine::run(&plan).expect("the setup works");
    assert!(outcome.phases.windows(2).all(|pair| pair[0].to.at_ns <= pair[1].from.at_ns));
    assert!(outcome.phases.iter().all(|phase| phase.from.broker.is_some() && phase.from.at_ns < phase.to.at_ns));
    let [from, to] = &outcome.window;
    assert_eq!((from.at_ns, to.at_ns), (outcome.phases[1].from.at_ns, outcome.phases[1].to.at_ns));
    assert_eq!((from.published, from.delivered, to.delivered), (MESSAGES, 0, MESSAGES));
}

#[test]
fn connecting_and_holding_still_are_phases_of_their_own() {
    let keeper = Keeper::start(None);
    let plan = plan("connect", &keeper, |flags| {
        (flags.messages, flags.connections, flags.threads) = (None, Some(50), 2);
        (flags.warmup, flags.duration) = (Some(Duration::from_millis(20)), Some(Duration::from_millis(50)));
        flags.broker_pid = Some(std::process::id());
    });
    let outcome = engine::run(&plan.expect("it resolves")).expect("the setup works");
    assert_eq!(phases(&outcome), [("connect", 50), ("idle", 50)]);
    assert!(outcome.phases.iter().all(|phase| phase.unit == "connections" && phase.from.at_ns < phase.to.at_ns));
    let [connect, idle] = &outcome.phases[..] else { panic!("two phases") };
    assert!(connect.to.at_ns == outcome.setup_ns && connect.to.at_ns < idle.from.at_ns);
    // The broker's threads are this process's, one for each connection.
    let threads = |moment: &Snapshot| moment.broker.expect("it lives").threads;
    assert!(threads(&connect.to) >= 50 && threads(&idle.from) >= 50);
    assert!(outcome.harvest.tally.is_clean());
}

#[test]
fn windows_of_any_size_store_all() {
    for (name, qos, _) in cases() {
        for window in [1, 2, 7, 100_000] {
            let keeper = Keeper::start(None);
            let plan = plan(name, &keeper, |flags| (flags.qos, flags.window) = (Some(qos), Some(window)));
            let plan = plan.expect("it resolves");
            let report = Report::new(&plan, engine::run(&plan).expect("the setup works"));
            assert!(report.passed && report.arrived == MESSAGES, "window {window}\n{report}");
        }
    }
}

#[test]
fn large_payloads_are_kept_whole() {
    let keeper = Keeper::start(None);
    let plan = plan("retain", &keeper, |flags| (flags.payload_bytes, flags.messages) = (Some(300_000), Some(20)));
    let plan = plan.expect("it resolves");
    let report = Report::new(&plan, engine::run(&plan).expect("the setup works"));
    assert!(report.passed && report.arrived == 20, "{report}");
}

#[test]
fn a_dropped_message_fails_the_run() {
    each_fails_by_its_name(None, Mistake::Drop(40), Tally { lost: 1, ..Tally::default() });
}

#[test]
fn a_duplicated_message_fails_the_run() {
    each_fails_by_its_name(None, Mistake::Duplicate(40), Tally { duplicated: 1, ..Tally::default() });
}

#[test]
fn a_changed_byte_or_flag_fails_the_run() {
    for mistake in [Mistake::Alter(40), Mistake::AlterStamp(40), Mistake::Retain(40)] {
        each_fails_by_its_name(None, mistake, Tally { altered: 1, ..Tally::default() });
    }
    for (name, qos) in [("retain", 1), ("offline", 2)] {
        for mistake in [Mistake::Dup(40), Mistake::Downgrade(40)] {
            let tally = tally_of(name, mistake, qos, Version::V5);
            assert_eq!(tally, Tally { altered: 1, ..Tally::default() });
        }
    }
}

#[test]
fn two_swapped_messages_fail_a_drain() {
    each_fails_by_its_name(Some("offline"), Mistake::Swap(40), Tally { reordered: 1, ..Tally::default() });
}

/// Section 4.6: order is kept within a topic.
#[test]
fn retained_messages_may_come_in_any_order() {
    let (report, _) = run("retain", Mistake::Swap(40), at(1, Version::V5)).expect("the setup works");
    assert!(report.passed, "{report}");
}

/// [MQTT-3.1.2-4], [MQTT-3.2.2-2].
#[test]
fn a_session_that_is_said_to_be_gone_fails_the_run() {
    each_fails_by_its_name(Some("offline"), Mistake::Amnesia, Tally { protocol_errors: 1, ..Tally::default() });
}

/// [MQTT-3.2.2-1]
#[test]
fn a_session_that_survives_a_clean_start_fails_the_run() {
    each_fails_by_its_name(Some("offline"), Mistake::Haunted, Tally { protocol_errors: 1, ..Tally::default() });
}

/// [MQTT-3.3.1-6] of 5.0.
#[test]
fn retained_messages_that_cannot_be_removed_fail_the_run() {
    let after = MESSAGES as usize + 299;
    let (report, keeper) = run("retain", Mistake::Cling(after), |_| ()).expect("the setup works");
    assert_eq!(report.integrity, Tally { unexpected: 1, ..Tally::default() });
    assert_eq!(keeper.holds(), (1, 0));
}

#[test]
fn a_missing_acknowledgement_fails_the_run() {
    for (name, qos) in [("retain", 1), ("retain", 2), ("offline", 1), ("offline", 2)] {
        let tally = tally_of(name, Mistake::Mute(250), qos, Version::V5);
        assert_eq!(tally, Tally { unacknowledged: 1, ..Tally::default() });
    }
}

/// Section 4.3.3.
#[test]
fn a_missing_pubrel_fails_the_run() {
    for name in ["retain", "offline"] {
        let tally = tally_of(name, Mistake::Unreleased(40), 2, Version::V311);
        assert_eq!(tally, Tally { unacknowledged: 1, ..Tally::default() });
    }
}

/// Sections 3.4.2.1 and 3.5.2.1 of 5.0.
#[test]
fn a_refused_message_fails_the_run() {
    for (name, qos) in [("retain", 1), ("retain", 2), ("offline", 1), ("offline", 2)] {
        let tally = tally_of(name, Mistake::Refuse(40), qos, Version::V5);
        assert_eq!(tally, Tally { refused: 1, lost: 1, ..Tally::default() });
    }
}

#[test]
fn a_connection_closed_while_messages_are_handed_out_fails_the_run() {
    for (name, qos, version) in cases() {
        let tally = tally_of(name, Mistake::Close(40), qos, version);
        assert_eq!((tally.connections_lost, tally.lost), (1, MESSAGES - 41), "{name} QoS {qos}");
    }
}

#[test]
fn a_connection_closed_while_messages_are_stored_fails_the_run_and_leaves_nothing() {
    for (name, qos, version) in cases() {
        let tally = tally_of(name, Mistake::Hate(40), qos, version);
        assert!(tally.connections_lost == 1 && tally.lost > 0, "{name} QoS {qos}: {tally:?}");
    }
}

#[test]
fn a_broker_that_answers_no_pingreq_fails_the_run() {
    let tally = tally_of("retain", Mistake::Numb, 1, Version::V311);
    // Each of its four connections.
    assert_eq!(tally, Tally { connections_lost: 4, ..Tally::default() });
}

#[test]
fn a_setup_that_cannot_work_is_one_sentence() {
    for name in ["retain", "offline"] {
        let error = |mistake| run(name, mistake, |_| ()).map(|_| ()).expect_err("the setup fails");
        let refused = error(Mistake::Unwelcome(5));
        assert!(refused.starts_with("127.0.0.1:") && refused.contains("refused CONNECT with code 0x05"), "{refused}");
        assert!(error(Mistake::Silent).ends_with("gave no answer for 0.3 s"));
        let nobody = run(name, Mistake::Silent, |flags| flags.port = 1).map(|_| ()).expect_err("nobody listens");
        assert!(nobody.contains("127.0.0.1:1 does not listen"), "{nobody}");
    }
    let unkept = run("offline", Mistake::Silent, |flags| flags.qos = Some(0)).map(|_| ()).expect_err("QoS 0");
    assert!(unkept.contains("qos 0"), "{unkept}");
}
