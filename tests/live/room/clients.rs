//! Clients: lists in pieces, one of them, and what waits for it.

use std::collections::BTreeSet;

use ringmq::wire::{Connect, QoS, RetainHandling, SubscriptionOptions};
use serde_json::json;

use super::asking::{each, get, pieces, start, until};
use crate::folder::Folder;
use crate::packets::{Q0, Q1, Q2, Say, V5, V311, lasting, qos1, subscribe, will};

/// Whatever the limit, each client is listed once, of whichever shard it is.
#[test]
fn clients_are_listed_in_pieces_and_found_by_part_of_a_name() {
    let folder = Folder::new();
    let broker = start(&folder, "");
    let ids: Vec<String> = (0..25).map(|number| format!("sensor/{number:02}")).collect();
    let joined = |id: &String| {
        let user_name = if id.ends_with('7') { "lucky" } else { "ann" };
        broker.join(&Connect { user_name: Some(user_name), ..Connect::new(V311, id) })
    };
    let clients: Vec<_> = ids.iter().map(joined).collect();
    drop(broker.join(&lasting(V311, "away", 0)));
    let all: BTreeSet<&str> = ids.iter().map(|id| &**id).chain(["away"]).collect();
    until(&broker, "/api/v1/clients/away", |now| now["connected"] == false);
    for limit in [1, 10, 1000] {
        let items = pieces(&broker, &format!("/api/v1/clients?limit={limit}"));
        assert_eq!((items.len(), each(&items, "client_id").into_iter().collect()), (26, all.clone()), "{limit}");
    }
    let found = |query: &str| {
        let items = pieces(&broker, &format!("/api/v1/clients?{query}"));
        items.iter().map(|item| item["client_id"].as_str().unwrap().to_owned()).collect::<BTreeSet<_>>()
    };
    assert_eq!(found("filter=sensor/0").len(), 10);
    assert_eq!(found("filter=lucky"), ["sensor/07".to_owned(), "sensor/17".into()].into());
    assert_eq!(found("connected=false"), ["away".to_owned()].into());
    assert_eq!(found("connected=true").len(), 25);
    assert_eq!(found("filter=no-such").len(), 0);
    let address = clients[3].stream.local_addr().unwrap();
    assert_eq!(found(&format!("filter={address}")), ["sensor/03".to_owned()].into());
    let of_here = "filter=127.0.0&limit=2";
    assert_eq!(found(of_here).len(), 25);
    let first = get(&broker, &format!("/api/v1/clients?{of_here}")).json();
    assert_eq!(first["items"].as_array().unwrap().len(), 2, "no more than are wanted");
    for (query, word) in [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=x", "invalid digit"),
        ("order=fastest", "order"),
        ("cursor=x", "cursor"),
        ("connected=maybe", "true"),
        ("order=slowest&cursor=0.1", "cursor"),
    ] {
        let detail = get(&broker, &format!("/api/v1/clients?{query}")).problem(400);
        assert!(detail.contains(word), "{query}: {detail}");
    }
}

#[test]
fn one_client_is_told_with_its_subscriptions_and_its_will() {
    let folder = Folder::new();
    let broker = start(&folder, "");
    let last_will = Some(will(Q1, "gone", "farewell"));
    let connect = Connect { user_name: Some("ann"), keep_alive_secs: 30, last_will, ..lasting(V5, "a/b ü", 60) };
    let mut client = broker.join(&connect);
    let options = SubscriptionOptions {
        qos: QoS::ExactlyOnce,
        no_local: true,
        retain_as_published: true,
        retain_handling: RetainHandling::DoNotSend,
    };
    client.send(subscribe(1).with("x/+", options).numbered(7));
    client.hear();
    let detail = get(&broker, "/api/v1/clients/a%2Fb%20%C3%BC").json();
    for (field, value) in [
        ("client_id", json!("a/b ü")),
        ("user", json!("ann")),
        ("connected", json!(true)),
        ("address", json!(client.stream.local_addr().unwrap().to_string())),
        ("listener_port", json!(broker.port)),
        ("protocol", json!("5.0")),
        ("keep_alive_secs", json!(30)),
        ("subscriptions", json!(1)),
        ("queued_messages", json!(0)),
        ("pressure", json!("none")),
        ("session_expiry_secs", json!(60)),
        ("session_ends_secs", json!(null)),
        ("slow_because", json!(null)),
        ("last_disconnect", json!(null)),
        ("will", json!({ "topic": "gone", "qos": 1, "retain": false, "payload_bytes": 8, "delay_secs": 0 })),
    ] {
        assert_eq!(detail[field], value, "{field}: {detail:#}");
    }
    let subscription = json!({ "filter": "x/+", "qos": 2, "no_local": true, "retain_as_published": true,
        "retain_handling": 2, "subscription_id": 7 });
    assert_eq!(detail["subscription_list"], json!([subscription]));
    assert!(get(&broker, "/api/v1/clients/nobody").problem(404).contains("nobody"));
    drop(client);
    let away = until(&broker, "/api/v1/clients/a%2Fb%20%C3%BC", |now| now["connected"] == false);
    assert!(away["session_ends_secs"].as_u64().unwrap() <= 60 && away["address"].is_null(), "{away:#}");
}

/// First what is on its way, then what waits.
#[test]
fn the_queue_of_a_client_is_listed_and_it_is_the_slowest() {
    let folder = Folder::new();
    let broker = start(&folder, "");
    let mut slow = broker.join(&Connect { receive_maximum: Some(1), ..lasting(V5, "slow", 60) });
    slow.send(subscribe(1).to("q/+", Q1));
    slow.hear();
    let mut speaker = broker.connect("speaker");
    for number in 1..=4 {
        speaker.send(qos1(number, &format!("q/{number}"), "hello"));
        speaker.hear();
    }
    let path = "/api/v1/clients/slow/queue";
    let queue = until(&broker, path, |now| now["items"].as_array().unwrap().len() == 4);
    let items = queue["items"].as_array().unwrap();
    assert_eq!(each(items, "topic"), ["q/1", "q/2", "q/3", "q/4"]);
    assert_eq!(each(items, "state"), ["inflight", "queued", "queued", "queued"]);
    assert_eq!(
        (&items[0]["payload_bytes"], &items[0]["qos"], &items[0]["retain"]),
        (&json!(5), &json!(1), &json!(false))
    );
    assert_eq!(get(&broker, &format!("{path}?limit=2")).json()["items"].as_array().unwrap().len(), 2);
    get(&broker, &format!("{path}?limit=0")).problem(400);
    get(&broker, "/api/v1/clients/nobody/queue").problem(404);
    let slowest = get(&broker, "/api/v1/clients?order=slowest&limit=5").json();
    assert_eq!((&slowest["items"][0]["client_id"], &slowest["next"]), (&json!("slow"), &json!(null)));
    assert!(slowest["items"][0]["slow_because"].as_str().unwrap().contains("does not acknowledge"), "{slowest:#}");
}

#[test]
fn those_that_send_most_come_first() {
    let folder = Folder::new();
    let broker = start(&folder, "");
    let (mut loud, mut quiet) = (broker.connect("loud"), broker.connect("quiet"));
    let payload = "x".repeat(1000);
    loop {
        for _ in 0..20 {
            loud.send(crate::packets::qos0("a", &payload));
        }
        quiet.send(crate::packets::qos2(1, "a", ""));
        quiet.hear();
        quiet.stream_discards();
        let talkers = get(&broker, "/api/v1/clients?order=talkers").json();
        let items = talkers["items"].as_array().unwrap();
        if items.len() == 2 {
            assert_eq!(each(items, "client_id"), ["loud", "quiet"]);
            let rates: Vec<_> = items.iter().map(|item| item["bytes_received_per_sec"].as_f64().unwrap()).collect();
            assert!(rates[0] > rates[1] && rates[1] > 0.0, "{rates:?}");
            return;
        }
    }
}

impl crate::client::Client {
    /// Gives a packet id back, so that it can be used again.
    fn stream_discards(&mut self) {
        let bytes = crate::packets::pubrel(1).bytes(V311);
        self.say(|out| out.extend(bytes));
        self.hear();
    }
}

/// What is out of the way of a path stays what it is.
#[test]
fn names_in_paths_are_names() {
    let folder = Folder::new();
    let broker = start(&folder, "");
    let ids = ["%2e", "a?b", "a#b", "queue", "{client_id}", "a+b"];
    let _clients: Vec<_> = ids.iter().map(|id| broker.connect(id)).collect();
    for (id, path) in ids.iter().zip(["%252e", "a%3Fb", "a%23b", "queue", "%7Bclient_id%7D", "a+b"]) {
        assert_eq!(get(&broker, &format!("/api/v1/clients/{path}")).json()["client_id"], json!(id));
    }
    get(&broker, "/api/v1/clients/%ff").problem(400);
    let mut q2 = broker.connect("q2");
    q2.send(subscribe(1).to("a", Q2).to("b", Q0));
    q2.hear();
    assert_eq!(get(&broker, "/api/v1/clients/q2").json()["subscriptions"], json!(2));
}
