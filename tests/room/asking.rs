//! A broker with an admin room, asked over HTTP.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use serde_json::Value;

use super::broker::{Broker, TIMEOUT};

/// A folder of one test, removed at its end.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("ringmq-room-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        fs::write(self.0.join(name), text).unwrap();
        self.path(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A broker of two shards with an admin room on a free port, these lines in its file, and no `$SYS`.
pub(crate) fn start(folder: &Folder, lines: &str) -> Broker {
    let head = "listener 0 127.0.0.1\nallow_anonymous true\nlog_timestamp false\nadmin 127.0.0.1:0\nsys_interval 0\n";
    let conf = folder.write("m.conf", &format!("{head}{lines}"));
    Broker::of_arguments(&["-c", &conf, "--set", "receive_maximum=1024"], 2)
}

/// The same with a file of ringmq's own, which has these lines under `[security]`, and with `$SYS` if that is wanted.
pub(crate) fn start_secured(folder: &Folder, lines: &str, sys_interval_secs: u32) -> Broker {
    let text = format!(
        "admin = \"127.0.0.1:0\"\nsys_interval_secs = {sys_interval_secs}\n[security]\n{lines}\n\
         [[listener]]\naddress = \"127.0.0.1:0\"\n"
    );
    Broker::of_arguments(&["--config", &folder.write("r.toml", &text)], 2)
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// All lines of the head, in lower case.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn of(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{text:?}"));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{text}"));
        Self { status, head: head.to_lowercase(), body: body.to_owned() }
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        assert!(self.status < 300 && self.head.contains("content-type: application/json"), "{self:?}");
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The detail of a problem.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16) -> String {
        assert!(self.status == status && self.head.contains("content-type: application/problem+json"), "{self:?}");
        let problem: Value = serde_json::from_str(&self.body).unwrap();
        assert_eq!((&problem["status"], &problem["type"]), (&status.into(), &"about:blank".into()));
        assert!(!problem["title"].as_str().unwrap().is_empty());
        problem["detail"].as_str().unwrap().to_owned()
    }
}

/// The text of a request.
pub(crate) fn request_of(method: &str, path: &str, headers: &[&str], body: &str) -> String {
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    )
}

/// Asks, with these lines in the head.
pub(crate) fn ask(broker: &Broker, method: &str, path: &str, headers: &[&str], body: &str) -> Reply {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, broker.port_of("http://"))).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    // Who is sent away may be so before all is said.
    let _ = stream.write_all(request_of(method, path, headers, body).as_bytes());
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    Reply::of(&String::from_utf8(bytes).unwrap())
}

pub(crate) fn get(broker: &Broker, path: &str) -> Reply {
    ask(broker, "GET", path, &[], "")
}

/// A body of JSON is sent.
pub(crate) fn send(broker: &Broker, method: &str, path: &str, body: &Value) -> Reply {
    ask(broker, method, path, &["Content-Type: application/json"], &body.to_string())
}

/// What is answered as soon as it is so: shards tell each other what they do.
#[track_caller]
pub(crate) fn until(broker: &Broker, path: &str, mut is_so: impl FnMut(&Value) -> bool) -> Value {
    let until = Instant::now() + TIMEOUT;
    loop {
        let answer = get(broker, path).json();
        if is_so(&answer) {
            return answer;
        }
        assert!(Instant::now() < until, "{path}: {answer:#}");
    }
}

/// All pieces of a list.
#[track_caller]
pub(crate) fn pieces(broker: &Broker, path: &str) -> Vec<Value> {
    let (mut items, mut cursor) = (Vec::new(), String::new());
    loop {
        let piece = get(broker, &format!("{path}{cursor}")).json();
        items.extend(piece["items"].as_array().unwrap().iter().cloned());
        let Some(next) = piece["next"].as_str() else { return items };
        cursor = format!("&cursor={next}");
    }
}

/// One field of each.
pub(crate) fn each<'a>(items: &'a [Value], field: &str) -> Vec<&'a str> {
    items.iter().map(|item| item[field].as_str().unwrap()).collect()
}
