//! WebSocket of the real binary.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::broker::{Broker, TIMEOUT};
use crate::packets::{Q0, Say, V311, granted, qos0, subscribe};
use crate::papers::Papers;
use ringmq::wire::{Connect, ProtocolVersion};

fn libraries() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("interop")
}

fn broker(papers: &Papers, shards: usize, settings: &[&str]) -> Broker {
    let more = ["--bind", "ws://127.0.0.1:0", "--bind", "wss://127.0.0.1:0"];
    Broker::start_with(&papers.options(&more), shards, settings)
}

/// Runs a script that says `done` after all that it checks.
#[track_caller]
fn run(mut command: Command, papers: &Papers, broker: &Broker) {
    let ports = ["ws://", "wss://"].map(|scheme| broker.port_of(scheme).to_string());
    let output = command.args(ports).arg(papers.path("ca.pem")).output().unwrap();
    let printed = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success() && printed.contains("done"), "{printed}");
}

#[test]
fn paho_talks_over_websocket_with_and_without_tls() {
    let papers = Papers::new();
    let broker = broker(&papers, 2, &[]);
    let mut command = Command::new(libraries().join("venv/bin/python"));
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/live/listeners/paho_web.py"));
    run(command, &papers, &broker);
}

#[test]
fn mqtt_js_talks_over_websocket_with_and_without_tls() {
    let papers = Papers::new();
    let broker = broker(&papers, 2, &[]);
    let mut command = Command::new("node");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/live/listeners/mqttjs_web.mjs"));
    command.arg(libraries().join("node_modules/mqtt"));
    run(command, &papers, &broker);
}

pub(super) fn dial(broker: &Broker) -> TcpStream {
    let socket = TcpStream::connect(("127.0.0.1", broker.port_of("ws://"))).unwrap();
    socket.set_read_timeout(Some(TIMEOUT)).unwrap();
    socket
}

#[track_caller]
fn read<const N: usize>(socket: &mut TcpStream) -> [u8; N] {
    let mut bytes = [0; N];
    socket.read_exact(&mut bytes).unwrap();
    bytes
}

/// Says this on a new connection; what is heard until the end.
fn ask(broker: &Broker, request: &[u8]) -> Vec<u8> {
    let mut socket = dial(broker);
    socket.write_all(request).unwrap();
    let mut heard = Vec::new();
    socket.read_to_end(&mut heard).unwrap();
    heard
}

pub(super) const UPGRADE: &[u8] = b"GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";

pub(super) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x5a, 0x01, 0xff, 0x80];
    let mut frame = vec![first, 0x80 | payload.len() as u8];
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// Cases T07 and T01, [MQTT-6.0.0-1], [MQTT-6.0.0-3]: errors are answered and may be read before the end.
#[test]
fn requests_and_frames_that_are_no_good_are_answered_and_closed() {
    let papers = Papers::new();
    let broker = broker(&papers, 2, &["connect_timeout_ms=500"]);
    let without_mqtt = String::from_utf8(UPGRADE.to_vec()).unwrap().replace("Protocol: mqtt", "Protocol: chat");
    let long = [b"GET / HTTP/1.1\r\nX: ".as_slice(), &[b'x'; 20_000]].concat();
    for (request, status) in [
        (&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], "426"),
        (b"\x10\x0c\0\x04MQTT\x04\x02\0\x3c\0\0", "400"),
        (without_mqtt.as_bytes(), "400"),
        (&long, "431"),
    ] {
        let heard = String::from_utf8(ask(&broker, request)).unwrap();
        assert_eq!(heard.split(' ').nth(1), Some(status), "{heard}");
    }
    assert_eq!(ask(&broker, b"GET / HTTP/1.1\r\n"), b"", "an answer to nothing: the time for CONNECT is over");
    for (frame, close) in [
        (frame(0x81, b"text"), b"\x88\x02\x03\xeb"),
        (vec![0x82, 0x01, 0x10], b"\x88\x02\x03\xea"),
        ([&[0x82, 0xff][..], &(1_u64 << 63).to_be_bytes(), &[0; 4]].concat(), b"\x88\x02\x03\xf1"),
    ] {
        let heard = ask(&broker, &[UPGRADE, &frame].concat());
        assert!(heard.starts_with(b"HTTP/1.1 101 ") && heard.ends_with(close), "{heard:02x?}");
    }
}

/// [MQTT-6.0.0-2], cases T05 and T06: a packet over many frames and many packets in one; pings between them.
#[test]
fn packets_are_cut_anywhere_over_frames() {
    let papers = Papers::new();
    let broker = broker(&papers, 1, &[]);
    let said = [
        Connect::new(ProtocolVersion::V311, "cut").bytes(V311),
        subscribe(1).to("t", Q0).bytes(V311),
        qos0("t", "hello").bytes(V311),
    ]
    .concat();
    let answers = [granted().bytes(V311), vec![0x90, 3, 0, 1, 0], qos0("t", "hello").bytes(V311)].concat();
    for piece in [1, 2, 3, 7, 100] {
        let frames =
            said.chunks(piece).flat_map(|piece| [frame(0x82, piece), frame(0x82, b""), frame(0x89, b"?")].concat());
        let mut request = UPGRADE.to_vec();
        request.extend(frames);
        let mut socket = dial(&broker);
        socket.write_all(&request).unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(read::<1>(&mut socket)[0]);
        }
        let (mut data, mut pongs) = (Vec::new(), 0);
        while data.len() < answers.len() || pongs == 0 {
            let [first, len] = read(&mut socket);
            let payload: Vec<u8> = (0..len).map(|_| read::<1>(&mut socket)[0]).collect();
            match first {
                0x82 => data.extend(payload),
                _ => {
                    assert_eq!((first, &payload[..]), (0x8a, &b"?"[..]));
                    pongs += 1;
                }
            }
        }
        assert_eq!(data, answers, "{piece}");
    }
}
