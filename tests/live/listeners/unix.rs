//! Unix sockets of the real binary.

use super::{Subscriber, run};
use crate::broker::Broker;
use crate::folder::Folder;
use crate::packets::{Q0, qos0, subscribe};

fn broker(path: &str) -> Broker {
    Broker::start_with(&["--bind".into(), format!("unix:{path}"), "-v".into()], 2, &[])
}

#[test]
fn mosquitto_clients_talk_over_a_unix_socket() {
    let folder = Folder::new();
    let path = folder.path("mqtt.sock");
    let mut first = broker(&path);
    let _ = first.process.kill();
    let _ = first.process.wait();
    // The file that it has left is replaced.
    let mut broker = broker(&path);
    let mut plain = broker.connect("plain");
    plain.send(subscribe(1).to("back", Q0));
    plain.expect(&[0x90, 3, 0, 1, 0]);
    let subscriber = Subscriber::start(&["--unix", &path, "-i", "here"], "unix");
    broker.line_with(&["New client connected from unix socket (pid ", "uid ", "as here"]);
    for _ in 0..8 {
        let (is_good, printed) = run("mosquitto_pub", &["--unix", &path, "-t", "back", "-m", "x"]);
        assert!(is_good, "{printed}");
        plain.expect(b"\x30\x07\0\x04backx");
    }
    plain.send(qos0("unix", "hello"));
    subscriber.expect("hello");
    assert_eq!(broker.stop(), Some(0));
    assert!(!folder.has("mqtt.sock"), "the file is removed at the end");
}
