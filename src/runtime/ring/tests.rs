//! The ring on real sockets.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsFd, FromRawFd, OwnedFd};

use super::super::buffers::BUFFER_BYTES;
use super::super::eventfd::EventFd;
use super::*;

const ID: ConnectionId = ConnectionId { slot: 5, generation: 9 };

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

fn next(ring: &mut Ring) -> Completion {
    loop {
        if let Some(completion) = ring.next_completion() {
            return completion;
        }
        ring.wait(Some(Duration::from_secs(5))).unwrap();
        assert!(ring.has_news(), "nothing has completed");
    }
}

fn next_of(ring: &mut Ring, operation: Operation) -> Completion {
    loop {
        let completion = next(ring);
        if completion.operation == operation {
            return completion;
        }
    }
}

#[test]
fn a_listener_is_armed_once_and_accepts_many() {
    let mut ring = Ring::new().unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    ring.accept(3, listener.as_fd());
    for _ in 0..3 {
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let accepted = next(&mut ring);
        assert_eq!(accepted.operation, Operation::Accept(3));
        assert!(accepted.result >= 0 && accepted.has_more);
        // SAFETY: the completion has handed the descriptor over.
        drop(unsafe { OwnedFd::from_raw_fd(accepted.result) });
    }
}

#[test]
fn one_receive_brings_every_arrival_and_then_the_end() {
    let mut ring = Ring::new().unwrap();
    let (mut client, server) = pair();
    ring.receive_many(ID, server.as_fd());
    for text in [&b"one"[..], b"three"] {
        client.write_all(text).unwrap();
        let received = next(&mut ring);
        assert_eq!(received.operation, Operation::Receive(ID));
        assert!(received.has_more);
        let buffer = received.buffer.unwrap();
        assert_eq!(ring.received(&buffer, received.result as usize), text);
        ring.give_back(buffer);
    }
    drop(client);
    let end = next(&mut ring);
    assert_eq!((end.result, end.has_more), (0, false));
}

#[test]
fn without_buffers_a_receive_ends_and_goes_on_when_some_are_back() {
    let mut ring = Ring::new().unwrap();
    let (mut client, server) = pair();
    let bytes: Vec<u8> = (0..(BUFFERS as usize + 40) * BUFFER_BYTES).map(|at| at as u8).collect();
    let expected = bytes.clone();
    let writer = std::thread::spawn(move || client.write_all(&bytes).map(|()| client));
    ring.receive_many(ID, server.as_fd());
    let mut held = Vec::new();
    let mut seen = Vec::new();
    let mut was_starved = false;
    while seen.len() < expected.len() {
        let completion = next(&mut ring);
        if let Some(buffer) = completion.buffer {
            seen.extend_from_slice(ring.received(&buffer, completion.result as usize));
            held.push(buffer);
        }
        if !completion.has_more {
            was_starved |= completion.result == -libc::ENOBUFS;
            held.drain(..).for_each(|buffer| ring.give_back(buffer));
            ring.receive_many(ID, server.as_fd());
        }
    }
    assert!(was_starved, "more was sent than there are buffers");
    assert!(seen == expected);
    drop(writer.join().unwrap());
}

#[test]
fn a_cancelled_receive_tells_its_end() {
    let mut ring = Ring::new().unwrap();
    let (_client, server) = pair();
    ring.receive_many(ID, server.as_fd());
    ring.submit().unwrap();
    ring.cancel(Operation::Receive(ID));
    let end = next_of(&mut ring, Operation::Receive(ID));
    assert_eq!((end.result, end.has_more), (-libc::ECANCELED, false));
}

#[test]
fn a_wait_ends_when_another_thread_rings_and_when_the_time_is_over() {
    let mut ring = Ring::new().unwrap();
    let event = EventFd::new().unwrap();
    ring.await_wake(event.as_fd());
    ring.wait(Some(Duration::from_millis(1))).unwrap();
    assert!(!ring.has_news());
    std::thread::scope(|scope| {
        scope.spawn(|| event.ring());
        assert_eq!(next(&mut ring).operation, Operation::Wake);
    });
}

#[test]
fn more_operations_than_the_ring_holds_are_all_done() {
    let mut ring = Ring::new().unwrap();
    let (mut client, server) = pair();
    let bytes = [7_u8; 3];
    let sends = 3 * (SUBMISSIONS + COMPLETIONS) as usize;
    let reader = std::thread::spawn(move || {
        let mut all = Vec::new();
        client.read_to_end(&mut all).map(|_| all.len())
    });
    let mut sent = 0;
    for _ in 0..sends {
        // SAFETY: `bytes` outlives the ring's use of it: all sends complete below.
        unsafe { ring.send(ID, server.as_fd(), &raw const bytes[..]) };
    }
    for _ in 0..sends {
        sent += next(&mut ring).result as usize;
    }
    drop(server);
    assert_eq!(reader.join().unwrap().unwrap(), sent);
    assert_eq!(sent, sends * bytes.len());
}

/// The kernel alone would not tell (see `FirstBurst`), and the connection would stay until its keep alive ends.
#[test]
fn a_reset_behind_more_bytes_than_one_burst_is_seen() {
    let mut ring = Ring::new().unwrap();
    let (mut client, server) = pair();
    socket2::SockRef::from(&server).set_recv_buffer_size(4 << 20).unwrap();
    client.write_all(&vec![7; 64 * BUFFER_BYTES]).unwrap();
    socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    ring.receive_many(ID, server.as_fd());
    let mut burst = FirstBurst::default();
    loop {
        let completion = next_of(&mut ring, Operation::Receive(ID));
        if let Some(buffer) = completion.buffer {
            ring.give_back(buffer);
        }
        if completion.has_more {
            if burst.ends_unsure(completion.has_drained) {
                ring.cancel(Operation::Receive(ID));
            }
        } else if completion.result == -libc::ECANCELED || completion.result == -libc::ENOBUFS {
            ring.receive_many(ID, server.as_fd());
            burst = FirstBurst::default();
        } else {
            assert_eq!(completion.result, -libc::ECONNRESET);
            break;
        }
    }
}
