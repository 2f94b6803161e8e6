//! The program as a user meets it: exit codes, one clear line for what cannot work, a table and JSON.

mod relay;

use std::process::{Command, Output};

use relay::{Mistake, Relay};

fn loadgen(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringmq-loadgen")).args(arguments).output().expect("the program starts")
}

fn stream(relay: &Relay, more: &[&str]) -> Output {
    let port = relay.port.to_string();
    let mut arguments = vec!["run", "stream", "--port", &port, "--warmup", "20ms", "--duration", "80ms"];
    arguments.extend_from_slice(&["--patience", "400ms", "--window", "50", "--idle"]);
    arguments.extend_from_slice(more);
    loadgen(&arguments)
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("the program writes UTF-8")
}

#[test]
fn list_names_every_scenario() {
    let output = loadgen(&["list"]);
    assert_eq!(output.status.code(), Some(0));
    for name in ["stream", "fanin", "fanout", "pairs", "connect"] {
        assert!(text(&output.stdout).lines().any(|line| line.starts_with(name)), "{name}");
    }
}

#[test]
fn a_good_run_exits_0_with_a_table_and_json() {
    let relay = Relay::start(None, || ());
    let file = std::env::temp_dir().join(format!("ringmq-loadgen-{}.json", std::process::id()));
    let output = stream(&relay, &["--json", file.to_str().expect("a UTF-8 path")]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let table = text(&output.stdout);
    for word in ["messages/s", "p99.99", "busy", "PASS"] {
        assert!(table.contains(word), "{word} is missing in {table}");
    }
    let json = std::fs::read_to_string(&file).expect("the report was written");
    std::fs::remove_file(&file).expect("the report can be removed");
    let report: serde_json::Value = serde_json::from_str(&json).expect("the report is JSON");
    assert_eq!(report["passed"], true);
    assert!(report["delivered_per_sec"].as_f64().is_some_and(|rate| rate > 0.0));
}

#[test]
fn a_failed_integrity_check_exits_1_and_says_what_was_lost() {
    let relay = Relay::start(Some(Mistake::Drop(10)), || ());
    let output = stream(&relay, &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("FAIL: 1 lost"), "{}", text(&output.stdout));
}

#[test]
fn what_cannot_work_exits_2_with_one_line() {
    let relay = Relay::start(Some(Mistake::Unwelcome(5)), || ());
    let refused = stream(&relay, &[]);
    let cases = [
        refused,
        loadgen(&["run", "stream", "--port", "1"]),
        loadgen(&["run", "stream", "--qos", "3"]),
        loadgen(&["run", "stream", "--qos", "x"]),
        loadgen(&["run", "stream", "--protocol", "3"]),
        loadgen(&["run", "stream", "--duration", "3"]),
        loadgen(&["run", "stream", "--cpus", "4000"]),
        loadgen(&["run", "nothing"]),
        loadgen(&["run"]),
        loadgen(&["--frobnicate"]),
    ];
    for output in cases {
        let complaint = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{complaint}");
        assert!(complaint.starts_with("ringmq-loadgen: ") && complaint.lines().count() == 1, "{complaint}");
    }
}
