//! Prometheus: what docs/prometheus and docs/grafana ask for is there, and a real Prometheus is content with it.
//!
//! Duty: a running broker, its metrics, promtool and Prometheus of Debian. Must not: judge figures: `src/admin/metrics.rs` and
//! `room/metrics` do. Neighbours: docs/prometheus has the rules and their own tests.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::Value;

use crate::broker::{Broker, TIMEOUT};
use crate::folder::Folder;
use crate::http;
use crate::program::{Process, ended_after};

pub(crate) const RULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/prometheus/ringmq.rules.yml");
pub(crate) const RULE_TESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/prometheus/ringmq.test.yml");
const CONFIG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/prometheus/prometheus.yml");
pub(crate) const GRAFANA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/grafana/ringmq.json");

/// A broker with a store, so that all families are there.
fn start(folder: &Folder) -> Broker {
    Broker::of_arguments(
        &["-p", "0", "--bind", "127.0.0.1", "--admin", "127.0.0.1:0", "--store", &folder.path("store")],
        2,
    )
}

/// The body of an answer.
fn get(port: u16, path: &str) -> String {
    // By HTTP/1.0 a body is never in chunks.
    let reply = http::ask(port, &format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n"));
    assert_eq!(reply.status, 200, "{path}: {reply:?}");
    reply.body
}

/// What a program of Prometheus says of this input; it must be content.
#[track_caller]
pub(crate) fn promtool(arguments: &[&str], input: &str) -> String {
    let (code, out, err) = ended_after(Command::new("promtool").args(arguments), input);
    let said = out + &err;
    assert_eq!(code, Some(0), "promtool {arguments:?}: {said}");
    said
}

/// All names of metrics in a text, but not those that rules make (`level:metric:operation`).
fn names_in(text: &str) -> BTreeSet<&str> {
    let words = text.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_' || letter == ':'));
    let words = words.map(|word| word.trim_end_matches(':'));
    words.filter(|word| word.starts_with("ringmq_") && !word.contains(':')).collect()
}

/// The expressions of all panels and variables.
fn expressions_of(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("expr").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|value| expressions_of(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| expressions_of(value, found)),
        _ => {}
    }
}

/// A name that is asked for and never told is an empty panel, or an alert that never comes.
#[test]
fn every_metric_that_is_asked_for_is_told() {
    let folder = Folder::new();
    let broker = start(&folder);
    let told = get(broker.port_of("http://"), "/metrics");
    let told: BTreeSet<&str> = told.lines().filter_map(|line| line.split(['{', ' ']).next()).collect();
    // A histogram is spoken of by its name, and asked for by that of its buckets.
    let is_told = |name: &str| told.contains(name) || told.contains(&*format!("{name}_bucket"));
    for file in [RULES, RULE_TESTS, GRAFANA] {
        let text = fs::read_to_string(file).unwrap();
        let names = names_in(&text);
        let missing: Vec<_> = names.iter().filter(|name| !is_told(name)).collect();
        assert!(names.len() > 15 && missing.is_empty(), "{file} asks for {missing:?}, and there are {told:?}");
    }
}

#[test]
fn promtool_is_content_with_metrics_rules_and_their_tests() {
    let folder = Folder::new();
    let broker = start(&folder);
    promtool(&["check", "metrics"], &get(broker.port_of("http://"), "/metrics"));
    promtool(&["check", "rules", RULES], "");
    promtool(&["check", "config", CONFIG], "");
    promtool(&["test", "rules", RULE_TESTS], "");
}

/// A Prometheus that runs until the end of the test.
struct Prometheus {
    _process: Process,
    port: u16,
}

impl Prometheus {
    /// With the configuration of docs/prometheus, of this broker, and every second.
    fn start(folder: &Folder, broker: &Broker) -> Self {
        let text = fs::read_to_string(CONFIG).unwrap();
        let target = format!("127.0.0.1:{}", broker.port_of("http://"));
        let text = text.replace("127.0.0.1:1885", &target).replace("ringmq.rules.yml", RULES).replace(": 15s", ": 1s");
        assert!(text.contains(&target) && text.contains(RULES) && text.matches(": 1s").count() == 2, "{text}");
        let file = folder.write("prometheus.yml", &text);
        let mut command = Command::new("prometheus");
        command.args([&*format!("--config.file={file}"), "--web.listen-address=127.0.0.1:0"]);
        command.arg(format!("--storage.tsdb.path={}", folder.path("data")));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = Process(command.spawn().expect("the Debian package prometheus has it"));
        let mut lines = BufReader::new(process.0.stderr.take().unwrap()).lines().map(Result::unwrap);
        let port = lines.by_ref().find_map(|line| {
            let address = line.contains("\"Listening on\"").then(|| line.split("address=127.0.0.1:").nth(1))??;
            address.split(' ').next()?.parse().ok()
        });
        let port = port.expect("it says where it listens");
        lines.by_ref().find(|line| line.contains("ready to receive web requests")).expect("it is ready");
        std::thread::spawn(move || lines.for_each(drop));
        Self { _process: process, port }
    }

    fn ask(&self, path: &str) -> Value {
        let answer: Value = serde_json::from_str(&get(self.port, path)).unwrap();
        assert_eq!(answer["status"], "success", "{path}: {answer}");
        answer["data"].clone()
    }

    /// The same, asked until it is so.
    fn wait_for(&self, path: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + TIMEOUT;
        loop {
            let answer = self.ask(path);
            if is_so(&answer) {
                return answer;
            }
            assert!(Instant::now() < until, "{path}: {answer:#}");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }
}

/// For the query of an address.
fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[test]
fn a_real_prometheus_reads_the_broker_and_evaluates_all_rules() {
    let folder = Folder::new();
    let broker = start(&folder);
    let prometheus = Prometheus::start(&folder, &broker);
    prometheus.wait_for("/api/v1/targets", |targets| targets["activeTargets"][0]["health"] == "up");
    let all_rules = |answer: &Value| {
        let groups = answer["groups"].as_array().unwrap().iter();
        groups.flat_map(|group| group["rules"].as_array().unwrap().clone()).collect::<Vec<_>>()
    };
    let is_known = |answer: &Value| all_rules(answer).iter().all(|rule| rule["health"] != "unknown");
    let answer = prometheus.wait_for("/api/v1/rules", is_known);
    let rules = all_rules(&answer);
    let bad: Vec<_> = rules.iter().filter(|rule| rule["health"] != "ok" || rule.get("lastError").is_some()).collect();
    assert!(rules.len() > 20 && bad.is_empty(), "{bad:#?}");
    let firing = rules.iter().filter(|rule| rule["state"] == "firing");
    assert_eq!(firing.collect::<Vec<_>>(), Vec::<&Value>::new(), "a broker that is well raises no alert");
    // Every panel's question is one, and has an answer.
    let grafana: Value = serde_json::from_str(&fs::read_to_string(GRAFANA).unwrap()).unwrap();
    let mut expressions = Vec::new();
    expressions_of(&grafana, &mut expressions);
    assert!(expressions.len() > 20, "{expressions:?}");
    for expression in expressions {
        let asked = expression.replace("$__rate_interval", "1m").replace("$job", "ringmq").replace("$instance", ".*");
        assert!(!asked.contains('$'), "{asked}");
        let path = format!("/api/v1/query?query={}", escaped(&asked));
        prometheus.ask(&path);
        // What only is there when something is wrong, or has happened.
        if !asked.starts_with("ALERTS") && !asked.contains(" > 0") {
            prometheus.wait_for(&path, |answer| answer["result"].as_array().is_some_and(|rows| !rows.is_empty()));
        }
    }
    let ready = prometheus.ask(&format!("/api/v1/query?query={}", escaped("sum(ringmq_ready)")));
    assert_eq!(ready["result"][0]["value"][1], "1", "{ready}");
}
