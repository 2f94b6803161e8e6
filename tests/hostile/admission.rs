//! Before CONNECT: silence, drips, floods and announced lengths (rows R01, R02, R03, R07 and their neighbours).
//!
//! Duty: sockets that never become clients. Must not: go on after CONNACK. Neighbours: `watch`.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use ringmq::wire::Connect;

use crate::broker::Broker;
use crate::packets::*;
use crate::watch::Watch;
use crate::{alone, full_or};

const QUICK_TIMEOUT: &str = "connect_timeout_ms=1500";

/// Both processes may have many sockets.
fn start(settings: &[&str]) -> Broker {
    Broker::start_after("ulimit -n 20000", 1, settings)
}

/// Waits for the end of a connection that says nothing.
fn expect_silent_end(stream: &mut TcpStream) {
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut rest = Vec::new();
    let result = stream.read_to_end(&mut rest);
    assert!(result.is_ok() || result.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset));
    assert!(rest.is_empty(), "{rest:02x?}");
}

/// Case R01: closed when the time for CONNECT is over, at little cost, while others are admitted.
#[test]
fn silent_sockets_end_in_time_and_cost_little() {
    let _alone = alone();
    let timeout = Duration::from_millis(full_or(10_000, 1500));
    let mut broker = start(full_or(&[][..], &[QUICK_TIMEOUT]));
    let watch = Watch::begin("R01", &broker);
    let count = full_or(9000, 500);
    let began = Instant::now();
    let mut silent: Vec<TcpStream> = (0..count).map(|_| TcpStream::connect(broker.address()).unwrap()).collect();
    let asked = Instant::now();
    broker.connect("legitimate").expect_alive();
    let waited = asked.elapsed();
    silent.iter_mut().for_each(expect_silent_end);
    let lasted = began.elapsed();
    assert!(lasted >= timeout && lasted < timeout * 2 + Duration::from_secs(5), "{lasted:?}");
    let cost =
        watch.end(&format!("{count} sockets, a CONNECT among them took {waited:?}, the last ended after {lasted:?}"));
    assert!(waited < Duration::from_secs(1), "a CONNECT took {waited:?}");
    assert!(cost.peak_bytes < count * 4096 + (1 << 20), "{cost:?} for {count} sockets");
    drop(silent);
    assert_eq!(broker.stop(), Some(0));
    assert_eq!(broker.counted("refused_overdue"), count);
}

/// Case R02: the time is for all of CONNECT, not for each byte.
#[test]
fn a_dripped_connect_ends_in_time() {
    let _alone = alone();
    let timeout = Duration::from_millis(full_or(10_000, 1500));
    let broker = start(full_or(&[][..], &[QUICK_TIMEOUT]));
    let watch = Watch::begin("R02", &broker);
    let bytes = Connect::new(V5, &"x".repeat(200)).bytes(V5);
    let mut client = broker.dial();
    let began = Instant::now();
    let mut dripped = 0;
    for byte in bytes {
        if client.stream.write_all(&[byte]).is_err() {
            break;
        }
        dripped += 1;
        std::thread::sleep(timeout / 15);
        assert!(began.elapsed() < timeout * 2, "{dripped} bytes and still open");
    }
    let lasted = began.elapsed();
    assert!(lasted >= timeout, "{lasted:?}");
    watch.end(&format!("{dripped} bytes dripped, closed after {lasted:?}"));
}

/// Case R03: a flood of connections, admitted, refused and nonsense, beside a flow that loses nothing.
#[test]
fn a_flood_of_connects_takes_nothing_from_those_who_are_there() {
    let _alone = alone();
    let mut broker = start(&[]);
    let mut publisher = broker.connect("publisher");
    let mut subscriber = broker.connect("subscriber");
    subscriber.send(subscribe(1).to("flow", Q0));
    subscriber.hear();
    let watch = Watch::begin("R03", &broker);
    let until = Instant::now() + Duration::from_secs(full_or(30, 2));
    let address = broker.address();
    let flood = std::thread::spawn(move || {
        let mut opened = 0_u64;
        while Instant::now() < until {
            let mut stream = TcpStream::connect(address).unwrap();
            let first = match opened % 3 {
                0 => Connect::new(V5, &format!("flood-{opened}")).bytes(V5),
                1 => hex("100d00044d5154540602003c000178"),
                _ => hex("474554202f20485454502f312e310d0a0d0a"),
            };
            let _ = stream.write_all(&first);
            let mut answer = [0; 64];
            let _ = stream.read(&mut answer);
            opened += 1;
        }
        opened
    });
    let mut flowed = 0;
    while !flood.is_finished() {
        publisher.publish("flow", Q0, 0, &[0; 64]);
        assert_eq!(subscriber.hear().len(), 2 + 2 + 4 + 64);
        flowed += 1;
        std::thread::sleep(Duration::from_millis(1));
    }
    let opened = flood.join().unwrap();
    watch.end(&format!("{opened} connections, {flowed} messages of others, none lost"));
    drop((publisher, subscriber));
    assert_eq!(broker.stop(), Some(0));
    let refused = broker.counted("refused_connects") + broker.counted("refused_first_packets");
    assert!(refused >= opened / 3 * 2 - 2, "{refused} of {opened}");
}

/// Case R07: memory is charged when a CONNECT announces its length; what is too long, or too much in all, ends there.
#[test]
fn announced_connects_are_bounded_each_and_in_all() {
    let _alone = alone();
    let mut broker = start(&[]);
    let watch = Watch::begin("R07", &broker);
    let count = full_or(1000, 400);
    let announce = |length: u32| {
        let mut stream = TcpStream::connect(broker.address()).unwrap();
        let mut bytes = vec![0x10];
        put_length(length as usize, &mut bytes);
        bytes.extend_from_slice(b"\0\x04MQTT");
        bytes.extend_from_slice(&[0; 1018]);
        let _ = stream.write_all(&bytes);
        stream
    };
    for mut stream in (0..count).map(|_| announce(2 << 20)).collect::<Vec<_>>() {
        expect_silent_end(&mut stream);
    }
    let held: Vec<TcpStream> = (0..count).map(|_| announce(60 << 10)).collect();
    broker.connect("legitimate").expect_alive();
    let cost = watch.end(&format!("{count} of 2 MiB, {count} of 60 KiB announced"));
    assert!(cost.peak_bytes < 32 << 20, "{cost:?}");
    drop(held);
    assert_eq!(broker.stop(), Some(0));
    assert_eq!(broker.counted("refused_large_connects"), count);
    // 16 MiB hold 273 of 60 KiB.
    assert!(broker.counted("refused_preauth_bytes") >= count - 280);
}
