//! Changing: clients disconnected, messages published and deleted, files read again, another log; only where it is allowed.

use serde_json::json;

use super::asking::{ask, get, send, start, until};
use crate::folder::Folder;
use crate::packets::{PublishWords, Q0, Q1, V5, lasting, qos1, subscribe};

const ALLOWED: &str = "admin_allow_changes true\n";
const CHANGES: [(&str, &str); 5] = [
    ("DELETE", "/api/v1/clients/c"),
    ("DELETE", "/api/v1/retained?filter=%23"),
    ("POST", "/api/v1/publish"),
    ("POST", "/api/v1/reload"),
    ("PUT", "/api/v1/log"),
];

#[test]
fn nothing_is_changed_unless_the_key_allows_it() {
    let folder = Folder::new();
    let broker = start(&folder, "");
    let mut client = broker.connect("c");
    client.send(qos1(1, "a", "kept").retained());
    client.hear();
    let body = json!({ "topic": "a", "payload": "x", "connections": true, "types": [] });
    for (method, path) in CHANGES {
        let detail = send(&broker, method, path, &body).problem(403);
        assert!(detail.contains("admin_allow_changes"), "{method} {path}: {detail}");
    }
    client.expect_alive();
    assert_eq!(get(&broker, "/api/v1/retained/a").json()["payload_base64"], json!("a2VwdA=="));
}

/// A form of another site in a browser on the same machine.
#[test]
fn a_page_of_another_site_changes_nothing() {
    let folder = Folder::new();
    let broker = start(&folder, ALLOWED);
    let mut client = broker.connect("c");
    let headers = ["Origin: http://evil.example.org", "Content-Type: application/json"];
    for (method, path) in CHANGES {
        ask(&broker, method, path, &headers, "{}").problem(403);
    }
    for kind in ["text/plain", "application/x-www-form-urlencoded"] {
        let header = format!("Content-Type: {kind}");
        ask(&broker, "POST", "/api/v1/publish", &[&header], "{\"topic\":\"a\"}").problem(415);
    }
    client.expect_alive();
}

#[test]
fn a_client_is_disconnected_and_its_session_kept_or_ended() {
    let folder = Folder::new();
    let broker = start(&folder, ALLOWED);
    let ends_with = [0xe0, 1, 0x98];
    for shard in 0..2 {
        let id = broker.client_id("c", shard);
        let path = format!("/api/v1/clients/{id}");
        let mut client = broker.join(&lasting(V5, &id, 600));
        let reply = ask(&broker, "DELETE", &path, &[], "");
        assert_eq!((reply.status, &*reply.body), (204, ""));
        let said = client.expect_end();
        assert_eq!((said[0], said[2]), (0xe0, ends_with[2]), "DISCONNECT: Administrative action: {said:02x?}");
        assert_eq!(until(&broker, &path, |now| now["connected"] == false)["session_expiry_secs"], json!(600));
        ask(&broker, "DELETE", &path, &[], "").problem(409);
        assert_eq!(get(&broker, &path).status, 200, "its session is still there");
        let mut client = broker.join(&lasting(V5, &id, 600));
        assert_eq!(ask(&broker, "DELETE", &format!("{path}?session=end"), &[], "").status, 204);
        client.expect_end();
        get(&broker, &path).problem(404);
        ask(&broker, "DELETE", &path, &[], "").problem(404);
    }
    ask(&broker, "DELETE", "/api/v1/clients/c?session=maybe", &[], "").problem(400);
}

#[test]
fn a_message_is_published_in_the_brokers_name() {
    let folder = Folder::new();
    let broker = start(&folder, &format!("{ALLOWED}message_size_limit 1000\n"));
    let mut reader = broker.connect("reader");
    reader.send(subscribe(1).to("a/#", Q1));
    reader.hear();
    let publish = |body: &serde_json::Value| send(&broker, "POST", "/api/v1/publish", body);
    let sent = publish(&json!({ "topic": "a/b", "payload": "hellö", "qos": 1, "retain": true }));
    assert_eq!((sent.status, &*sent.body), (202, ""));
    let packet = reader.hear();
    assert!(packet[0] & 0xf6 == 0x32 && packet.ends_with("hellö".as_bytes()), "{packet:02x?}");
    assert_eq!(publish(&json!({ "topic": "a/c", "payload_base64": "AP8=" })).status, 202);
    let packet = reader.hear();
    assert!(packet[0] == 0x30 && packet.ends_with(&[0, 0xff]), "{packet:02x?}");
    assert_eq!(get(&broker, "/api/v1/retained/a/b").json()["qos"], json!(1));
    for (body, status, word) in [
        (json!({ "topic": "a/#" }), 400, "a/#"),
        (json!({ "topic": "" }), 400, "topic"),
        (json!({ "topic": "$SYS/a" }), 400, "$SYS"),
        (json!({ "topic": "a", "qos": 3 }), 400, "qos"),
        (json!({ "topic": "a", "qos": -1 }), 400, "-1"),
        (json!({ "topic": "a", "payload": "x", "payload_base64": "eA==" }), 400, "one of them"),
        (json!({ "topic": "a", "payload_base64": "*" }), 400, "payload_base64"),
        (json!({ "topic": "a", "colour": "red" }), 400, "colour"),
        (json!({ "payload": "x" }), 400, "topic"),
        (json!({ "topic": "a", "payload": "x".repeat(1001) }), 413, "message_size_limit"),
        (json!({ "topic": "a", "payload": "x".repeat(300_000) }), 413, "admin_body_bytes_max"),
    ] {
        let detail = publish(&body).problem(status);
        assert!(detail.contains(word), "{detail}");
    }
    ask(&broker, "POST", "/api/v1/publish", &["Content-Type: application/json"], "{").problem(400);
    reader.expect_alive();
}

#[test]
fn retained_messages_are_deleted_by_filter_on_all_shards() {
    let folder = Folder::new();
    let broker = start(&folder, ALLOWED);
    let mut speaker = broker.connect("speaker");
    for number in 0..300 {
        speaker.send(qos1(number + 1, &format!("d/{}/{number}", number % 3), "x").retained());
    }
    (0..300).for_each(|_| drop(speaker.hear()));
    until(&broker, "/api/v1/overview", |now| now["retained"]["messages"] == 300);
    let delete = |query: &str| ask(&broker, "DELETE", &format!("/api/v1/retained{query}"), &[], "");
    assert_eq!(delete("?filter=d/1/%2B").json(), json!({ "deleted": 100 }));
    until(&broker, "/api/v1/overview", |now| now["retained"]["messages"] == 200);
    assert_eq!(delete("?filter=none").json(), json!({ "deleted": 0 }));
    assert!(delete("").problem(400).contains("filter"));
    delete("?filter=a/%23/b").problem(400);
    let mut reader = broker.connect(&broker.client_id("reader", 1));
    reader.send(subscribe(1).to("d/1/#", Q0));
    reader.hear();
    reader.expect_alive();
    assert_eq!(delete("?filter=%23").json(), json!({ "deleted": 200 }));
}

#[test]
fn the_configuration_is_read_again_or_the_reason_why_not_is_told() {
    let folder = Folder::new();
    let broker = start(&folder, ALLOWED);
    let reload = || ask(&broker, "POST", "/api/v1/reload", &[], "");
    let told = reload().json();
    assert!(told["told"].as_str().unwrap().starts_with("Reloaded: "), "{told}");
    let text = std::fs::read_to_string(folder.path("m.conf")).unwrap();
    folder.write("m.conf", &format!("{text}max_queued_messages 55\n"));
    reload().json();
    assert!(get(&broker, "/api/v1/config").json()["text"].as_str().unwrap().contains("queued_messages_max = 55"));
    folder.write("m.conf", &format!("{text}acl_file /no/such/file\n"));
    let detail = reload().problem(409);
    assert!(detail.contains("Not reloaded") && detail.contains("/no/such/file"), "{detail}");
    // What allows it is read again, too.
    folder.write("m.conf", &text.replace("admin_allow_changes true", ""));
    reload().json();
    reload().problem(403);
}

#[test]
fn what_is_logged_is_changed_until_the_next_reload() {
    let folder = Folder::new();
    let broker = start(&folder, &format!("{ALLOWED}connection_messages false\nlog_type error\nlog_type information\n"));
    let quiet = json!({ "connections": false, "types": ["error", "information"] });
    assert_eq!(get(&broker, "/api/v1/log").json(), quiet);
    let all = json!({ "connections": true, "types": ["error", "warning", "notice", "information", "subscribe"] });
    assert_eq!(send(&broker, "PUT", "/api/v1/log", &all).json(), all);
    broker.line_with(&["Logging changed by the admin room"]);
    let mut client = broker.connect("seen-now");
    client.send(subscribe(1).to("a", Q0));
    client.hear();
    broker.line_with(&["seen-now"]);
    for body in [json!({ "connections": true, "types": ["everything"] }), json!({ "types": [] }), json!([])] {
        send(&broker, "PUT", "/api/v1/log", &body).problem(400);
    }
    assert_eq!(get(&broker, "/api/v1/log").json(), all);
    broker.signal("HUP");
    broker.line_with(&["Reloaded: "]);
    assert_eq!(get(&broker, "/api/v1/log").json(), quiet);
}
