//! Overview, shards, configuration, log, drops, denials: what the broker says of itself.

use serde_json::json;

use super::asking::{ask, each, get, start, start_secured, until};
use crate::broker::Broker;
use crate::client::Client;
use crate::folder::Folder;
use crate::packets::{Q0, Q1, V5, V311, lasting, qos0, qos1, subscribe};

#[test]
fn the_overview_says_how_the_broker_is() {
    let folder = Folder::new();
    let broker = start(&folder, "");
    let mut clients: Vec<_> = (0..2).map(|shard| broker.connect(&broker.client_id("c", shard))).collect();
    clients[0].send(subscribe(1).to("a/#", Q0).to("$share/g/a", Q0));
    clients[0].hear();
    clients[1].send(qos1(1, "a/b", "hello"));
    clients[1].hear();
    clients[0].hear();
    let overview = until(&broker, "/api/v1/overview", |now| now["totals"]["messages_sent"] == json!([1, 0, 0]));
    for (field, value) in [
        ("version", json!(env!("CARGO_PKG_VERSION"))),
        ("phase", json!("serving")),
        ("ready", json!(true)),
        ("shards", json!(2)),
        ("allow_changes", json!(false)),
        ("clients", json!({ "connected": 2, "sessions": 2, "connections": 2 })),
        ("subscriptions", json!(2)),
        ("shared_subscriptions", json!(1)),
        ("retained", json!({ "messages": 0 })),
        ("queued_messages", json!(0)),
        ("store", json!(null)),
        ("problems", json!([])),
    ] {
        assert_eq!(overview[field], value, "{field}: {overview:#}");
    }
    let listener = json!({ "address": format!("127.0.0.1:{}", broker.port), "protocol": "mqtt" });
    assert_eq!(overview["listeners"], json!([listener]));
    assert_eq!(overview["totals"]["messages_received"], json!([0, 1, 0]));
    assert_eq!(overview["totals"]["connects"], json!(2));
    assert!(overview["durability"].as_str().unwrap().contains("memory"));
    let shards = get(&broker, "/api/v1/shards").json();
    let shards = shards["items"].as_array().unwrap();
    let connected: Vec<_> = shards.iter().map(|shard| (shard["shard"].clone(), shard["connected"].clone())).collect();
    assert_eq!(connected, [(json!(0), json!(1)), (json!(1), json!(1))]);
    for field in ["busy_share", "turns_per_sec", "held_bytes", "messages_sent_per_sec"] {
        assert!(shards.iter().all(|shard| shard[field].is_number()), "{field}");
    }
}

/// Latency, rates and times of commits are of the last seconds, and null where there was nothing.
#[test]
fn times_and_rates_are_of_what_has_just_happened() {
    let folder = Folder::new();
    let path = folder.path("");
    let broker = start(&folder, &format!("persistence true\npersistence_location {path}\n"));
    let quiet = get(&broker, "/api/v1/overview").json();
    assert_eq!(quiet["latency_us"]["local"]["p99"], json!(null));
    assert_eq!(quiet["store"]["state"], json!("ready"));
    let mut client = broker.join(&lasting(V311, "c", 0));
    client.send(subscribe(1).to("a", Q1));
    client.hear();
    // Looks are at least a second apart, so what happens meanwhile is between two of them.
    let busy = until_busy(&broker, &mut client);
    assert!(busy["latency_us"]["local"]["p50"].as_f64().unwrap() > 0.0, "{busy:#}");
    assert!(busy["rates"]["messages_received_per_sec"][1].as_f64().unwrap() > 0.0);
    assert!(busy["store"]["commits"].as_u64().unwrap() > 0 && busy["store"]["bytes"].as_u64().unwrap() > 0);
    assert!(busy["store"]["commit_ms"]["p99"].as_f64().unwrap() > 0.0);
}

fn until_busy(broker: &Broker, client: &mut Client) -> serde_json::Value {
    for packet_id in 1.. {
        client.send(qos1(packet_id, "a", "x"));
        // Its acknowledgement and the message, in either order.
        client.hear();
        client.hear();
        let overview = get(broker, "/api/v1/overview").json();
        let is_busy = overview["latency_us"]["local"]["count"].as_u64().unwrap() > 0;
        if is_busy && !overview["store"]["commit_ms"]["p99"].is_null() {
            return overview;
        }
        client.send(crate::packets::puback(packet_id));
    }
    unreachable!()
}

/// What an operator would otherwise have to look for is said, with what to do.
#[test]
fn a_failed_reload_is_a_problem_until_one_succeeds() {
    let folder = Folder::new();
    let broker = start(&folder, "");
    let text = std::fs::read_to_string(folder.path("m.conf")).unwrap();
    folder.write("m.conf", &format!("{text}acl_file /no/such/file\n"));
    broker.signal("HUP");
    broker.line_with(&["Not reloaded"]);
    let overview = get(&broker, "/api/v1/overview").json();
    let problem = &overview["problems"][0];
    assert!(
        problem["text"].as_str().unwrap().contains("/no/such/file") && problem["severity"] == "warning",
        "{problem}"
    );
    assert!(!problem["remedy"].as_str().unwrap().is_empty());
    folder.write("m.conf", &text);
    broker.signal("HUP");
    broker.line_with(&["Reloaded: "]);
    assert_eq!(get(&broker, "/api/v1/overview").json()["problems"], json!([]));
}

/// A denial now and then is the client's; many are the operator's.
#[test]
fn many_denials_are_a_problem_with_a_remedy() {
    let folder = Folder::new();
    let acl = folder.write("acl", "topic readwrite #\ntopic deny secret\n");
    let broker = start(&folder, &format!("acl_file {acl}\n"));
    let mut client = broker.join(&lasting(V311, "c", 0));
    let mut deny = |times| {
        for packet_id in 1..=times {
            client.send(qos1(packet_id, "secret", "x"));
            client.hear();
        }
    };
    deny(1);
    assert_eq!(get(&broker, "/api/v1/overview").json()["problems"], json!([]));
    let now = until(&broker, "/api/v1/overview", |now| {
        deny(100);
        now["problems"] != json!([])
    });
    let problem = &now["problems"][0];
    assert!(problem["text"].as_str().unwrap().contains("denied") && problem["severity"] == "warning", "{problem}");
    assert!(problem["remedy"].as_str().unwrap().contains("/api/v1/denials"), "{problem}");
}

#[test]
fn the_configuration_in_force_is_shown_without_its_secrets() {
    let folder = Folder::new();
    let url = "http://ann:s3cret@127.0.0.1:1/check?key=hidden";
    let broker = start_secured(&folder, &format!("allow_anonymous = true\n[security.http]\nurl = \"{url}\"\n"), 0);
    let config = get(&broker, "/api/v1/config").json();
    let text = config["text"].as_str().unwrap();
    assert!(text.contains("allow_anonymous = true") && text.contains("127.0.0.1:1/check"), "{text}");
    assert!(!text.contains("s3cret") && !text.contains("hidden"), "{text}");
    assert_eq!(config["file"], json!(folder.path("r.toml")));
    let log = get(&broker, "/api/v1/log").json();
    assert!(log["connections"].is_boolean() && log["types"].as_array().unwrap().contains(&json!("error")), "{log}");
}

#[test]
fn what_was_denied_is_listed_with_who_and_by_which_line() {
    let folder = Folder::new();
    let acl = folder.write("acl", "topic read a/#\n");
    let lines = format!("allow_anonymous = true\nacl_file = \"{acl}\"\nrefuse_useless_subscriptions = true\n");
    let broker = start_secured(&folder, &lines, 0);
    assert_eq!(get(&broker, "/api/v1/denials").json(), json!({ "items": [] }));
    let mut client = broker.join(&lasting(V5, "c", 0));
    client.send(qos1(1, "a/b", "x"));
    client.hear();
    until(&broker, "/api/v1/denials", |now| now["items"].as_array().unwrap().len() == 1);
    // Of those within a tenth of a second only one is told.
    let mut packet_id = 2;
    let denials = until(&broker, "/api/v1/denials", |now| {
        client.send(subscribe(packet_id).to("b", Q0));
        client.hear();
        packet_id += 1;
        now["items"].as_array().unwrap().len() == 2
    });
    let items = denials["items"].as_array().unwrap();
    assert_eq!(each(items, "topic"), ["b", "a/b"], "the last one first");
    assert_eq!(each(items, "client_id"), ["c", "c"]);
    assert!(items[1]["access"] == "publish" && items[1]["at_unix_ms"].as_u64().unwrap() > 1_600_000_000_000);
    assert!(items[1]["rule"].as_str().unwrap().contains(&acl), "{items:#?}");
    assert!(items[1]["address"].as_str().unwrap().starts_with("127.0.0.1:"), "{items:#?}");
}

/// A message for a client that is away is a drop, under the name that is known.
#[test]
fn drops_are_told_by_name_with_what_they_mean() {
    let folder = Folder::new();
    let broker = start(&folder, "");
    let mut away = broker.join(&lasting(V311, "away", 0));
    away.send(subscribe(1).to("a", Q0));
    away.hear();
    drop(away);
    until(&broker, "/api/v1/clients/away", |now| now["connected"] == false);
    let mut speaker = broker.connect("speaker");
    speaker.send(qos0("a", "x"));
    speaker.send(qos0("a", "y"));
    speaker.expect_alive();
    let of_name = |now: &serde_json::Value, name: &str| {
        now["items"].as_array().unwrap().iter().find(|item| item["name"] == name).unwrap().clone()
    };
    let drops = until(&broker, "/api/v1/drops", |now| of_name(now, "dropped_offline")["count"] == 2);
    let offline = of_name(&drops, "dropped_offline");
    assert!(offline["kind"] == "drop" && offline["meaning"].as_str().unwrap().contains("not connected"), "{offline}");
    assert!(offline["per_sec"].is_number());
    assert_eq!(of_name(&drops, "publishes_denied")["kind"], "denial");
    assert_eq!(of_name(&drops, "panics")["kind"], "limit");
}

#[test]
fn unknown_parameters_and_paths_are_problems() {
    let folder = Folder::new();
    let broker = start(&folder, "");
    let lists =
        ["clients", "topics", "retained", "clients/c/queue", "overview", "shards", "drops", "denials", "config", "log"];
    for path in lists {
        let detail = get(&broker, &format!("/api/v1/{path}?colour=red")).problem(400);
        assert!(detail.contains("colour"), "{path}: {detail}");
    }
    assert!(get(&broker, "/api/v1/nothing").problem(404).contains("/api/openapi.json"));
    let reply = ask(&broker, "PATCH", "/api/v1/overview", &[], "");
    reply.problem(405);
    assert!(reply.head.contains("allow: get"), "{reply:?}");
    assert!(get(&broker, "/api/v1/trace").problem(400).contains("topic"));
    let page = get(&broker, "/");
    assert!(page.status == 200 && page.head.contains("text/html"), "the dashboard");
}
