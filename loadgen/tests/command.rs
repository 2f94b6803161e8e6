//! The program as a user meets it: exit codes, one clear line for what cannot work, a table and JSON.

mod relay;

use std::process::{Command, Output};

use relay::{Mistake, Relay};

fn loadgen(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringmq-loadgen")).args(arguments).output().expect("the program starts")
}

fn stream(relay: &Relay, more: &[&str]) -> Output {
    let port = relay.port.to_string();
    let mut arguments = vec!["stream", "--port", &port, "--warmup", "20ms"];
    if !more.contains(&"--duration") {
        arguments.extend_from_slice(&["--duration", "80ms"]);
    }
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
    let names = [
        "stream",
        "fanin-deep",
        "fanout-deep",
        "fanout-paced",
        "pairs-deep",
        "wild",
        "shared",
        "shared-deep",
        "slow",
        "fleet",
    ];
    for name in names {
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
fn the_json_has_every_part_with_units_in_its_names() {
    let relay = Relay::start(None, || ());
    let pid = std::process::id().to_string();
    let output = stream(&relay, &["--json", "-", "--duration", "200ms", "--broker-pid", &pid]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("only JSON is printed");
    assert_eq!((&report["verdict"], &report["integrity_passed"]), (&"pass".into(), &true.into()));
    assert!(report["rate_reached"].is_null() && report["phases"] == serde_json::json!([]));
    assert_eq!(report["scenario"]["duration"], "0.2s");
    assert!(
        report["conditions"]["command_line"].as_str().is_some_and(|line| line.starts_with("ringmq-loadgen stream"))
    );
    let steps = report["timeline"].as_array().expect("a list");
    assert_eq!(steps.len(), 2);
    for step in steps {
        let names = ["delivered_per_sec", "published_per_sec", "latency_p99_us", "broker_rss_bytes"];
        // The "broker" is this process: threads of other tests end meanwhile, and then its CPU time is not known.
        assert!(step.get("broker_cpu_cores").is_some(), "{step}");
        assert!(names.iter().all(|name| step[name].as_f64().is_some_and(|number| number > 0.0)), "{step}");
        // The process measured is this one, whose other tests end threads; then its CPU time is not known.
        let cpu = step.get("broker_cpu_cores").expect("the field is always there");
        assert!(cpu.is_null() || cpu.as_f64().is_some_and(|cores| cores > 0.0), "{step}");
    }
    let measured: u64 = steps.iter().filter_map(|step| step["latency_count"].as_u64()).sum();
    let whole = report["latency"]["count"].as_u64().expect("a number");
    assert!(measured > 0 && measured <= whole, "{measured} of {whole}");
    let curve = report["latency_curve"].as_array().expect("a list");
    assert_eq!(curve.last().map(|point| &point["latency_us"]), Some(&report["latency"]["max_us"]));
}

#[test]
fn a_report_is_a_page_that_shows_the_run() {
    let relay = Relay::start(None, || ());
    let file = std::env::temp_dir().join(format!("ringmq-loadgen-{}.html", std::process::id()));
    let output = stream(&relay, &["--report", file.to_str().expect("a UTF-8 path")]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let page = std::fs::read_to_string(&file).expect("the page was written");
    std::fs::remove_file(&file).expect("the page can be removed");
    for part in ["<strong>PASS</strong>", "Latency by percentile", "Throughput over time", "--warmup 20ms", "Host CPU"]
    {
        assert!(page.contains(part), "{part} is missing");
    }
    assert!(!page.contains("http") && !page.contains("src="));
}

#[test]
fn help_has_examples_and_every_exit_code_and_no_arguments_are_no_success() {
    let help = loadgen(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    for part in ["Examples:", "ringmq-loadgen stream", "Exit codes:", "  3  integrity passed, but the rate", "--report"]
    {
        assert!(text(&help.stdout).contains(part), "{part} is missing");
    }
    let nothing = loadgen(&[]);
    assert_eq!((nothing.status.code(), nothing.stdout.len()), (Some(2), 0));
    assert!(text(&nothing.stderr).contains("Examples:"));
}

#[test]
fn an_unknown_scenario_is_answered_with_the_known_ones() {
    let complaint = loadgen(&["straem"]).stderr;
    let complaint = text(&complaint);
    assert!(
        complaint.contains("'straem'") && complaint.contains("stream") && complaint.contains("fanout"),
        "{complaint}"
    );
}

/// The relay takes 100 messages unacknowledged in MQTT 5.0, and the generator looks at its sockets once per millisecond.
#[test]
fn a_rate_that_is_not_reached_exits_3_although_nothing_is_lost() {
    let relay = Relay::start(None, || ());
    let output = stream(&relay, &["--protocol", "5.0", "--qos", "1", "--rate", "2000000"]);
    let table = text(&output.stdout);
    assert_eq!(output.status.code(), Some(3), "{table}");
    assert!(table.contains("NOT REACHED") && table.contains("PASS (") && table.contains("VERDICT"), "{table}");
}

#[test]
fn a_rate_that_is_reached_exits_0_and_says_so() {
    let relay = Relay::start(None, || ());
    let output = stream(&relay, &["--rate", "500", "--duration", "150ms"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    assert!(text(&output.stdout).contains("REACHED"));
}

#[test]
fn no_progress_bar_is_written_where_no_terminal_is() {
    let relay = Relay::start(None, || ());
    for more in [&[][..], &["--quiet"]] {
        assert_eq!(text(&stream(&relay, more).stderr), "");
    }
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
        loadgen(&["stream", "--port", "1"]),
        loadgen(&["stream", "--host", "no.such.host.invalid"]),
        loadgen(&["stream", "--qos", "3"]),
        loadgen(&["stream", "--qos", "x"]),
        loadgen(&["stream", "--protocol", "3"]),
        loadgen(&["stream", "--duration", "3"]),
        loadgen(&["stream", "--cpus", "4000"]),
        loadgen(&["nothing"]),
        loadgen(&["stream", "--json", "/no/such/folder/report.json"]),
        loadgen(&["--port", "1"]),
        loadgen(&["--frobnicate"]),
    ];
    for output in cases {
        let complaint = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{complaint}");
        assert!(complaint.starts_with("ringmq-loadgen: ") && complaint.lines().count() == 1, "{complaint}");
    }
}
