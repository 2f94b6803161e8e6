//! Entering: users with an admin right, TLS, and that every path but a few wants either.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::{ClientConnection, StreamOwned};

use super::asking::{ask, get, start};
use crate::broker::{Broker, TIMEOUT};
use crate::folder::Folder;
use crate::http::{Reply, request_of};
use crate::papers::Papers;
use crate::program::{ended, ringmq};

const PATHS: [&str; 14] = [
    "/metrics",
    "/api/v1/overview",
    "/api/v1/shards",
    "/api/v1/clients",
    "/api/v1/clients/c",
    "/api/v1/clients/c/queue",
    "/api/v1/topics",
    "/api/v1/topics/a/audience",
    "/api/v1/retained",
    "/api/v1/drops",
    "/api/v1/denials",
    "/api/v1/config",
    "/api/v1/log",
    "/api/v1/trace?client=c",
];

#[test]
fn every_path_that_tells_something_wants_the_token() {
    let folder = Folder::new();
    let token = folder.write("token", "0123456789abcdef\n");
    let broker = start(&folder, &format!("admin_token_file {token}\nadmin_allow_changes true\n"));
    for path in PATHS {
        let reply = get(&broker, path);
        reply.problem(401);
        assert!(reply.head.contains("www-authenticate: bearer"), "{reply:?}");
    }
    for (method, path) in [("DELETE", "/api/v1/clients/c"), ("POST", "/api/v1/publish"), ("POST", "/api/v1/reload")] {
        ask(&broker, method, path, &[], "").problem(401);
    }
    let open = ["/", "/dashboard.js", "/dashboard.css", "/healthz", "/readyz", "/api/openapi.json"];
    open.iter().for_each(|path| assert_eq!(get(&broker, path).status, 200, "{path}"));
    let header = "Authorization: Bearer 0123456789abcdef";
    assert_eq!(ask(&broker, "GET", "/api/v1/overview", &[header], "").status, 200);
    assert_eq!(ask(&broker, "GET", "/metrics", &[header], "").status, 200);
}

#[test]
fn a_user_with_the_right_comes_in_by_the_password() {
    let folder = Folder::new();
    let passwords = folder.path("passwords");
    for (words, user, password) in [(&["-c", "-b"][..], "ann", "right:one"), (&["-b"], "bob", "other")] {
        let status = Command::new("mosquitto_passwd").args(words).args([&passwords, user, password]).status();
        assert!(status.expect("mosquitto_passwd is missing: apt-get install mosquitto").success());
    }
    let broker = start(&folder, &format!("password_file {passwords}\nadmin_users ann\n"));
    let overview = |user: &str, password: &str| {
        let header = format!("Authorization: Basic {}", STANDARD.encode(format!("{user}:{password}")));
        ask(&broker, "GET", "/api/v1/overview", &[&header], "")
    };
    assert_eq!(overview("ann", "right:one").status, 200);
    let unknown = get(&broker, "/api/v1/overview");
    unknown.problem(401);
    assert!(unknown.head.contains("www-authenticate: basic"), "{unknown:?}");
    overview("ann", "wrong").problem(401);
    overview("nobody", "right:one").problem(401);
    let detail = overview("bob", "other").problem(403);
    assert!(detail.contains("admin_users") && detail.contains("bob"), "{detail}");
}

/// Over TLS the same is answered; who speaks plainly gets nothing.
#[test]
fn the_room_is_encrypted_by_its_own_certificate() {
    let folder = Folder::new();
    let papers = Papers::new();
    let (certificate, key) = (papers.path("broker.pem"), papers.path("broker.key"));
    let broker = start(&folder, &format!("admin_tls_cert {certificate}\nadmin_tls_key {key}\n"));
    let reply = ask_encrypted(&papers, &broker, "/api/v1/overview");
    assert_eq!(reply.json()["ready"], serde_json::json!(true));
    let mut plain = TcpStream::connect(("127.0.0.1", broker.port_of("https://"))).unwrap();
    plain.set_read_timeout(Some(TIMEOUT)).unwrap();
    plain.write_all(request_of("GET", "/healthz", &[], "").as_bytes()).unwrap();
    let mut said = Vec::new();
    let _ = plain.read_to_end(&mut said);
    assert!(!said.starts_with(b"HTTP"), "{said:02x?}");
    papers.issue("broker");
    broker.signal("HUP");
    broker.line_with(&["Reloaded: "]);
    assert_eq!(ask_encrypted(&papers, &broker, "/readyz").status, 200, "with its new certificate");
    let conf =
        folder.write("bad.conf", &format!("listener 0 127.0.0.1\nadmin 127.0.0.1:0\nadmin_tls_cert {certificate}\n"));
    let (code, _, text) = ended(&mut ringmq(&["-c", &conf]));
    assert!(code == Some(3) && text.contains("admin_tls_key"), "{text}");
}

fn ask_encrypted(papers: &Papers, broker: &Broker, path: &str) -> Reply {
    let socket = TcpStream::connect(("127.0.0.1", broker.port_of("https://"))).unwrap();
    socket.set_read_timeout(Some(TIMEOUT)).unwrap();
    let connection = ClientConnection::new(papers.client(), "localhost".try_into().unwrap()).unwrap();
    let mut stream = StreamOwned::new(connection, socket);
    stream.write_all(request_of("GET", path, &[], "").as_bytes()).unwrap();
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    Reply::of(&String::from_utf8(bytes).unwrap())
}
