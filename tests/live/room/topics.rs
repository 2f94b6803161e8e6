//! Topics: the hottest, who gets a message, what is retained.

use std::collections::BTreeSet;

use serde_json::json;

use super::asking::{each, get, pieces, start, until};
use crate::folder::Folder;
use crate::packets::{PublishWords, Q0, Q1, V5, lasting, qos0, qos1, subscribe};

#[test]
fn the_hottest_topics_come_first() {
    let folder = Folder::new();
    let broker = start(&folder, "");
    let mut reader = broker.connect("reader");
    reader.send(subscribe(1).to("#", Q0));
    reader.hear();
    let mut speaker = broker.connect("speaker");
    loop {
        for topic in ["hot", "hot", "hot", "warm"] {
            speaker.send(qos0(topic, "x"));
            reader.hear();
        }
        let topics = get(&broker, "/api/v1/topics").json();
        let items = topics["items"].as_array().unwrap();
        if items.len() == 2 && items.iter().all(|item| item["messages_per_sec"].as_f64().unwrap() > 0.0) {
            assert_eq!(each(items, "topic"), ["hot", "warm"]);
            assert!(topics["seconds"].as_f64().unwrap() > 0.0);
            break;
        }
    }
    assert_eq!(get(&broker, "/api/v1/topics?limit=1").json()["items"].as_array().unwrap().len(), 1);
    get(&broker, "/api/v1/topics?limit=1001").problem(400);
}

/// Of all shards, with the filters of each client; a shared subscription is one.
#[test]
fn the_audience_of_a_topic_is_told_without_publishing() {
    let folder = Folder::new();
    let broker = start(&folder, "");
    let ids = [broker.client_id("r", 0), broker.client_id("r", 1)];
    let mut readers: Vec<_> = ids.iter().map(|id| broker.connect(id)).collect();
    readers[0].send(subscribe(1).to("a/+", Q0).to("a/#", Q1));
    readers[1].send(subscribe(1).to("a/b", Q1).to("$share/g/a/#", Q0));
    readers.iter_mut().for_each(|reader| drop(reader.hear()));
    let whole = |now: &serde_json::Value| now["clients_total"] == 2 && now["shared"].as_array().unwrap().len() == 1;
    let audience = until(&broker, "/api/v1/topics/a%2Fb/audience", whole);
    let clients = audience["clients"].as_array().unwrap();
    let of = |id: &String| clients.iter().find(|client| client["client_id"] == json!(id)).unwrap();
    let filters: BTreeSet<_> =
        of(&ids[0])["filters"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
    assert_eq!((filters, &of(&ids[0])["qos"], &of(&ids[0])["shard"]), (["a/#", "a/+"].into(), &json!(1), &json!(0)));
    assert_eq!((&of(&ids[1])["filters"], &of(&ids[1])["shard"]), (&json!(["a/b"]), &json!(1)));
    assert_eq!(audience["shared"], json!([{ "group": "g", "filter": "a/#", "members": 1 }]));
    assert_eq!((&audience["retained"], &audience["topic"]), (&json!(false), &json!("a/b")));
    assert_eq!(get(&broker, "/api/v1/topics/nobody/audience").json()["clients_total"], json!(0));
    for wrong in ["a%2F%23", "%2B", "a%00"] {
        get(&broker, &format!("/api/v1/topics/{wrong}/audience")).problem(400);
    }
}

#[test]
fn retained_messages_are_listed_in_pieces_and_told_one_by_one() {
    let folder = Folder::new();
    let broker = start(&folder, "");
    let mut speaker = broker.join(&lasting(V5, "speaker", 0));
    let topics: Vec<String> = (0..250).map(|number| format!("r/{}/{number}", number % 7)).collect();
    for (number, topic) in topics.iter().enumerate() {
        speaker.send(qos1(number as u16 + 1, topic, "hello").retained());
    }
    topics.iter().for_each(|_| drop(speaker.hear()));
    until(&broker, "/api/v1/overview", |now| now["retained"]["messages"] == 250);
    for limit in [1, 99, 1000] {
        let items = pieces(&broker, &format!("/api/v1/retained?limit={limit}"));
        let told: BTreeSet<&str> = each(&items, "topic").into_iter().collect();
        assert_eq!((items.len(), told.len()), (250, 250), "{limit}");
        assert!(items.iter().all(|item| item["payload_base64"].is_null() && item["payload_bytes"] == 5));
    }
    assert_eq!(pieces(&broker, "/api/v1/retained?filter=r/3/%2B&limit=10").len(), 36);
    let with_payload = pieces(&broker, "/api/v1/retained?filter=r/3/3&payload=true");
    assert_eq!(with_payload[0]["payload_base64"], json!("aGVsbG8="));
    for path in ["r%2F3%2F3", "r/3/3"] {
        let one = get(&broker, &format!("/api/v1/retained/{path}")).json();
        let expected = json!({ "topic": "r/3/3", "qos": 1, "payload_bytes": 5, "payload_base64": "aGVsbG8=",
            "expires_secs": null, "published_by": one["published_by"] });
        assert_eq!(one, expected);
    }
    get(&broker, "/api/v1/retained/none").problem(404);
    get(&broker, "/api/v1/retained/a%2F%23").problem(400);
    for query in ["limit=0", "filter=a/%23/b", "cursor=x", "payload=maybe", "filter="] {
        get(&broker, &format!("/api/v1/retained?{query}")).problem(400);
    }
}
