//! A broker with an admin room, asked over HTTP.

use std::time::Instant;

use serde_json::Value;

use crate::broker::{Broker, TIMEOUT};
use crate::folder::Folder;
use crate::http::{self, Reply, request_of};

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

/// Asks, with these lines in the head.
pub(crate) fn ask(broker: &Broker, method: &str, path: &str, headers: &[&str], body: &str) -> Reply {
    http::ask(broker.port_of("http://"), &request_of(method, path, headers, body))
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
