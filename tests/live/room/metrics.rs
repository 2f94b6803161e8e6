//! Metrics: what Prometheus reads, judged by its own tool.

use std::collections::BTreeSet;

use super::asking::{ask, get, start, until};
use crate::folder::Folder;
use crate::packets::{Q1, V311, lasting, puback, qos1, subscribe};
use crate::prometheus::{GRAFANA, RULE_TESTS, RULES, promtool};

/// Names that dashboards and rules of others hold on to.
const NAMES: [&str; 40] = [
    "ringmq_build_info",
    "ringmq_start_time_seconds",
    "ringmq_ready",
    "ringmq_connections",
    "ringmq_connections_max",
    "ringmq_clients_connected",
    "ringmq_sessions",
    "ringmq_subscriptions",
    "ringmq_shared_subscriptions",
    "ringmq_retained_messages",
    "ringmq_queued_messages",
    "ringmq_inflight_messages",
    "ringmq_held_bytes",
    "ringmq_held_bytes_max",
    "ringmq_messages_total",
    "ringmq_payload_bytes_total",
    "ringmq_socket_bytes_total",
    "ringmq_packets_total",
    "ringmq_connects_total",
    "ringmq_disconnects_by_broker_total",
    "ringmq_messages_dropped_total",
    "ringmq_messages_unmatched_total",
    "ringmq_messages_resent_total",
    "ringmq_denials_total",
    "ringmq_refused_connects_total",
    "ringmq_troubles_total",
    "ringmq_mesh_batches_total",
    "ringmq_mesh_messages_total",
    "ringmq_mesh_waiting_batches",
    "ringmq_turns_total",
    "ringmq_busy_seconds_total",
    "ringmq_message_latency_seconds",
    "ringmq_store_commits_total",
    "ringmq_store_commit_seconds",
    "ringmq_store_waiting_batches",
    "ringmq_store_state",
    "ringmq_process_resident_bytes",
    "ringmq_process_cpu_seconds_total",
    "ringmq_process_open_fds",
    "ringmq_process_max_fds",
];

#[test]
fn prometheus_finds_nothing_to_object_to() {
    let folder = Folder::new();
    let path = folder.path("");
    let broker = start(&folder, &format!("persistence true\npersistence_location {path}\n"));
    let mut client = broker.join(&lasting(V311, "c", 0));
    client.send(subscribe(1).to("a", Q1));
    client.hear();
    for packet_id in 1..=3 {
        client.send(qos1(packet_id, "a", "hello"));
        client.hear();
        client.hear();
        client.send(puback(packet_id));
    }
    until(&broker, "/api/v1/overview", |now| now["totals"]["messages_sent"][1] == 3);
    let reply = get(&broker, "/metrics");
    assert!(reply.head.contains("content-type: text/plain; version=0.0.4"), "{}", reply.head);
    let told: BTreeSet<&str> =
        reply.body.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    assert_eq!(told, NAMES.into_iter().collect());
    let sum = |name: &str| sum_of(&reply.body, name);
    assert_eq!(sum("ringmq_messages_total{direction=\"received\",qos=\"1\"}"), 3.0);
    assert_eq!(sum("ringmq_messages_total{direction=\"sent\",qos=\"1\"}"), 3.0);
    assert_eq!(sum("ringmq_payload_bytes_total{direction=\"sent\",qos=\"1\"}"), 15.0);
    assert_eq!(sum("ringmq_message_latency_seconds_count{qos=\"1\"}"), 3.0);
    assert_eq!((sum("ringmq_clients_connected"), sum("ringmq_ready")), (1.0, 1.0));
    assert_eq!(sum("ringmq_store_state{state=\"ready\"}"), 1.0);
    assert!(sum("ringmq_store_commits_total") > 0.0 && sum("ringmq_process_resident_bytes") > 1e6);
    assert!(sum("ringmq_process_max_fds") > sum("ringmq_process_open_fds"));
    assert_eq!(promtool(&["check", "metrics"], &reply.body), "");
}

/// The sum of all lines with this name and these labels.
fn sum_of(text: &str, wanted: &str) -> f64 {
    let (name, labels) = wanted.split_once('{').unwrap_or((wanted, "}"));
    let labels: Vec<_> = labels.trim_end_matches('}').split(',').filter(|label| !label.is_empty()).collect();
    let lines =
        text.lines().filter(|line| !line.starts_with('#')).filter(|line| line.split(['{', ' ']).next() == Some(name));
    let lines = lines.filter(|line| labels.iter().all(|label| line.contains(label)));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

#[test]
fn who_asks_for_open_metrics_gets_them() {
    let folder = Folder::new();
    let broker = start(&folder, "");
    let accept = "Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5";
    let reply = ask(&broker, "GET", "/metrics", &[accept], "");
    assert!(reply.head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{}", reply.head);
    assert!(
        reply.body.ends_with("# EOF\n") && reply.body.contains("# TYPE ringmq_connects counter\n"),
        "{}",
        reply.body
    );
    assert!(!reply.body.contains("ringmq_store"), "there is no store");
}

/// The rules do what their own tests say, and name nothing that the broker does not have.
#[test]
fn the_alert_rules_are_of_these_metrics() {
    promtool(&["test", "rules", RULE_TESTS], "");
    let [rules, board] = [RULES, GRAFANA].map(|file| std::fs::read_to_string(file).unwrap());
    for name in words_with(&rules, "ringmq_").chain(words_with(&board, "ringmq_")) {
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        assert!(NAMES.contains(&base) || NAMES.contains(&name), "{name}");
    }
    let folder = Folder::new();
    let drops = get(&start(&folder, ""), "/api/v1/drops").body;
    let chosen = rules.split("{reason").skip(1).filter_map(|rest| rest.split('"').nth(1));
    for reason in chosen.flat_map(|reasons| reasons.split('|')) {
        assert!(drops.contains(&format!("\"name\":\"{reason}\"")), "{reason}");
    }
}

/// Words of a text that begin so.
fn words_with<'a>(text: &'a str, begin: &'a str) -> impl Iterator<Item = &'a str> {
    // With colons they are the rules' own.
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && !"_:".contains(letter));
    words.map(|word| word.trim_end_matches(':')).filter(move |word| word.starts_with(begin))
}
