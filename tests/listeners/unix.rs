//! Unix sockets of the real binary.

use super::broker::Broker;
use super::packets::{Q0, qos0, subscribe};
use super::{Subscriber, run};

fn broker(path: &str) -> Broker {
    Broker::start_with(&["--bind".into(), format!("unix:{path}"), "-v".into()], 2, &[])
}

#[test]
fn mosquitto_clients_talk_over_a_unix_socket() {
    let folder = std::env::temp_dir().join(format!("ringmq-unix-live-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("mqtt.sock").into_os_string().into_string().unwrap();
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
    assert!(!std::path::Path::new(&path).exists(), "the file is removed at the end");
    std::fs::remove_dir_all(&folder).unwrap();
}
