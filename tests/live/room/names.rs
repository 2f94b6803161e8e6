//! Names: whatever goes wrong has one name, in the log, in `$SYS`, among the metrics and in the API.

use std::collections::BTreeMap;

use super::asking::{get, start_secured, until};
use crate::folder::Folder;
use crate::packets::{Q0, V5, V311, lasting, qos0, subscribe};

/// Counters of the metrics by reason; those of denials have the access for a label.
fn of_metrics(text: &str) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let label = |name: &str| Some(line.split_once(&format!("{name}=\""))?.1.split_once('"')?.0);
        let name = match label("access") {
            Some("publish") => "publishes_denied",
            Some("subscribe") => "subscriptions_denied",
            _ => label("reason").unwrap_or_default(),
        };
        if !name.is_empty() {
            *sums.entry(name.to_owned()).or_default() += line.rsplit(' ').next().unwrap().parse::<u64>().unwrap();
        }
    }
    sums
}

#[test]
fn what_goes_wrong_has_one_name_everywhere() {
    let folder = Folder::new();
    let acl = folder.write("acl", "topic readwrite a\ntopic read $SYS/#\n");
    let lines = format!("allow_anonymous = true\nacl_file = \"{acl}\"\nrefuse_useless_subscriptions = true\n");
    let mut broker = start_secured(&folder, &lines, 1);
    let mut away = broker.join(&lasting(V311, "away", 0));
    away.send(subscribe(1).to("a", Q0));
    away.hear();
    drop(away);
    until(&broker, "/api/v1/clients/away", |now| now["connected"] == false);
    let mut client = broker.join(&lasting(V5, "c", 0));
    client.send(subscribe(1).to("secret", Q0));
    client.hear();
    (0..3).for_each(|_| client.send(qos0("a", "x")));
    (0..2).for_each(|_| client.send(qos0("b", "x")));
    client.expect_alive();
    let is_counted = |now: &serde_json::Value| {
        let mut items = now["items"].as_array().unwrap().iter();
        items.any(|item| item["name"] == "dropped_offline" && item["count"] == 3)
    };
    let drops = until(&broker, "/api/v1/drops", is_counted);
    let of_api: BTreeMap<String, u64> = drops["items"].as_array().unwrap().iter().map(named).collect();
    let expected = [("dropped_offline", 3), ("publishes_denied", 2), ("subscriptions_denied", 1)];
    let bitten: Vec<_> =
        of_api.iter().filter(|(_, times)| **times > 0).map(|(name, times)| (&**name, *times)).collect();
    assert_eq!(bitten, expected);
    assert_eq!(
        of_metrics(&get(&broker, "/metrics").body),
        of_api,
        "the same names and numbers, also where there was nothing"
    );
    for (name, times) in expected {
        let mut reader = broker.connect("reader");
        reader.send(subscribe(1).to(&format!("$SYS/broker/ringmq/troubles/{name}"), Q0));
        reader.hear();
        assert!(reader.hear().ends_with(times.to_string().as_bytes()), "$SYS: {name}");
    }
    assert_eq!(broker.stop(), Some(0));
    expected.iter().for_each(|(name, times)| assert_eq!(broker.counted(name), *times, "log: {name}"));
}

fn named(item: &serde_json::Value) -> (String, u64) {
    (item["name"].as_str().unwrap().to_owned(), item["count"].as_u64().unwrap())
}
