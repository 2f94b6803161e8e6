//! The ring floor: what the same bytes cost without a broker. `scripts/compare --floor` builds and measures it.
//!
//! Duty: relay what a publisher sends to all who subscribed, over one io_uring set up as a shard's: multishot receives into
//! buffers as a shard has them, one send per turn for each connection with something to send. It speaks as much MQTT 3.1.1 as
//! the load generator needs at QoS 0. Must not: look at messages, but for the first of an arrival (a publisher has one topic
//! and messages of one length); check, spin, or bound what waits: no broker can do less. Neighbours: `src/runtime/ring.rs` has
//! the same set-up; `src/runtime/buffers.rs` is taken as source; `scripts/bench/cells.py` says which scenarios it can carry.

#[path = "../src/runtime/buffers.rs"]
mod buffers;

use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::{env, io, mem};

use io_uring::types::Fd;
use io_uring::{IoUring, cqueue, opcode, squeue};
use socket2::{Domain, Socket, Type};

use buffers::{BUFFERS, BufferId, Buffers};

const BUFFER_GROUP: u16 = 0;

/// What is asked of the ring, in the upper half of what a completion brings back; the descriptor is in the lower.
const ACCEPT: u64 = 0;
const RECEIVE: u64 = 1;
const SEND: u64 = 2;

/// One client.
#[derive(Default)]
struct Connection {
    /// The beginning of a packet whose end has not come.
    carry: Vec<u8>,
    filter: Vec<u8>,
    /// Whom its topic is for; found at its first message.
    receivers: Vec<usize>,
    queued: Vec<u8>,
    /// What the kernel is sending. It stays where it is until the completion.
    sending: Vec<u8>,
    is_dirty: bool,
}

/// Clients by descriptor (all stay open for the one run that a floor serves), and those that got something in this turn.
#[derive(Default)]
struct Relay {
    connections: Vec<Connection>,
    dirty: Vec<usize>,
}

struct Floor {
    // Dropped before the memory that its operations point to.
    uring: IoUring,
    buffers: Buffers,
    relay: Relay,
}

fn main() -> io::Result<()> {
    // Without one, `cargo bench` has started it. With one, it ends when it is killed.
    let Some(port) = env::args().skip(1).find_map(|argument| argument.parse().ok()) else {
        println!("floor: a relay for the load generator, started with a port; see scripts/compare --floor");
        return Ok(());
    };
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    listener.set_reuse_address(true)?;
    // Accepted sockets inherit it.
    listener.set_tcp_nodelay(true)?;
    listener.bind(&std::net::SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
    listener.listen(4096)?;
    Floor::new()?.run(&listener)
}

impl Floor {
    fn new() -> io::Result<Self> {
        let mut builder = IoUring::builder();
        builder.setup_cqsize(8192).setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag().setup_submit_all();
        let (uring, buffers) = (builder.build(1024)?, Buffers::new()?);
        let address = buffers.entries_address();
        // SAFETY: a ring of `BUFFERS` entries, which lives in the floor beside `uring` and is dropped after it.
        unsafe { uring.submitter().register_buf_ring_with_flags(address, BUFFERS, BUFFER_GROUP, 0)? };
        Ok(Self { uring, buffers, relay: Relay::default() })
    }

    fn run(&mut self, listener: &Socket) -> io::Result<()> {
        self.push(opcode::AcceptMulti::new(Fd(listener.as_raw_fd())).build(), ACCEPT, 0)?;
        let mut completions = Vec::new();
        loop {
            self.uring.submit_and_wait(1)?;
            completions.extend(self.uring.completion());
            for completion in completions.drain(..) {
                let place = completion.user_data() as u32 as usize;
                match completion.user_data() >> 32 {
                    ACCEPT => self.accepted(completion.result())?,
                    RECEIVE => self.received(place, &completion)?,
                    _ if self.relay.sent(place, completion.result()) => self.send(place)?,
                    _ => (),
                }
            }
            for place in mem::take(&mut self.relay.dirty) {
                if self.relay.begin(place) {
                    self.send(place)?;
                }
            }
        }
    }

    fn push(&mut self, entry: squeue::Entry, kind: u64, place: usize) -> io::Result<()> {
        let entry = entry.user_data(kind << 32 | place as u64);
        // SAFETY: receives point to the provided buffers, and sends to `sending`, which waits for the completion.
        while unsafe { self.uring.submission().push(&entry) }.is_err() {
            self.uring.submit()?;
        }
        Ok(())
    }

    fn receive(&mut self, place: usize) -> io::Result<()> {
        self.push(opcode::RecvMulti::new(Fd(place as i32), BUFFER_GROUP).build(), RECEIVE, place)
    }

    fn send(&mut self, place: usize) -> io::Result<()> {
        let bytes = &self.relay.connections[place].sending;
        let entry = opcode::Send::new(Fd(place as i32), bytes.as_ptr(), bytes.len() as u32).flags(libc::MSG_NOSIGNAL);
        self.push(entry.build(), SEND, place)
    }

    fn accepted(&mut self, descriptor: i32) -> io::Result<()> {
        let place = usize::try_from(descriptor).map_err(|_| io::Error::from_raw_os_error(-descriptor))?;
        let count = self.relay.connections.len().max(place + 1);
        self.relay.connections.resize_with(count, Connection::default);
        self.receive(place)
    }

    fn received(&mut self, from: usize, completion: &cqueue::Entry) -> io::Result<()> {
        let result = completion.result();
        if let Some(id) = cqueue::buffer_select(completion.flags()).map(BufferId) {
            self.relay.take(from, self.buffers.bytes(&id, result.max(0) as usize));
            self.buffers.give_back(id);
        }
        let is_open = result > 0 || result == -libc::ENOBUFS;
        if is_open && !cqueue::more(completion.flags()) { self.receive(from) } else { Ok(()) }
    }
}

impl Relay {
    /// Bytes of a client, of which it keeps the incomplete packet at the end.
    fn take(&mut self, from: usize, mut bytes: &[u8]) {
        let mut carry = mem::take(&mut self.connections[from].carry);
        while !carry.is_empty() && !bytes.is_empty() {
            let wanted = packet_bytes(&carry).map_or(1, |whole| whole - carry.len());
            let (now, later) = bytes.split_at(wanted.min(bytes.len()));
            carry.extend_from_slice(now);
            bytes = later;
            if self.packets(from, &carry) > 0 {
                carry.clear();
            }
        }
        let taken = self.packets(from, bytes);
        carry.extend_from_slice(&bytes[taken..]);
        self.connections[from].carry = carry;
    }

    /// Answers or forwards the whole packets at the start of `bytes`, and gives their length.
    fn packets(&mut self, from: usize, bytes: &[u8]) -> usize {
        let mut taken = 0;
        while let Some(whole) = packet_bytes(&bytes[taken..]).filter(|whole| *whole <= bytes.len() - taken) {
            let rest = &bytes[taken..];
            let body = &rest[body_start(rest)..whole];
            taken += whole;
            match rest[0] >> 4 {
                1 => self.queue(from, &[0x20, 2, 0, 0]),
                3 => {
                    // All that follows is of this length, but for the client's last packets, which are shorter.
                    let messages = &rest[..rest.len() / whole * whole];
                    self.forward(from, text(body), messages);
                    taken += messages.len() - whole;
                }
                8 => {
                    self.connections[from].filter = text(&body[2..]).to_vec();
                    self.queue(from, &[0x90, 3, body[0], body[1], 0]);
                }
                12 => self.queue(from, &[0xd0, 0]),
                _ => (),
            }
        }
        taken
    }

    fn forward(&mut self, from: usize, topic: &[u8], messages: &[u8]) {
        let mut receivers = mem::take(&mut self.connections[from].receivers);
        if receivers.is_empty() {
            let all = self.connections.iter().enumerate();
            receivers = all.filter(|(_, one)| matches(&one.filter, topic)).map(|(place, _)| place).collect();
        }
        receivers.iter().for_each(|to| self.queue(*to, messages));
        self.connections[from].receivers = receivers;
    }

    fn queue(&mut self, to: usize, bytes: &[u8]) {
        let connection = &mut self.connections[to];
        connection.queued.extend_from_slice(bytes);
        if !mem::replace(&mut connection.is_dirty, true) {
            self.dirty.push(to);
        }
    }

    /// Whether what is queued is to be sent now: nothing else is being sent.
    fn begin(&mut self, to: usize) -> bool {
        let connection = &mut self.connections[to];
        connection.is_dirty = false;
        if !connection.sending.is_empty() || connection.queued.is_empty() {
            return false;
        }
        mem::swap(&mut connection.queued, &mut connection.sending);
        true
    }

    /// Forgets what the kernel has sent. Whether there is a rest of it to send.
    fn sent(&mut self, to: usize, result: i32) -> bool {
        let sending = &mut self.connections[to].sending;
        let sent = usize::try_from(result).unwrap_or(sending.len());
        sending.drain(..sent);
        if !sending.is_empty() {
            return true;
        }
        self.queue(to, &[]);
        false
    }
}

/// Length of the packet that begins here, once its header is there.
fn packet_bytes(bytes: &[u8]) -> Option<usize> {
    let start = body_start(bytes);
    let length = bytes.get(1..start)?;
    Some(start + length.iter().rev().fold(0, |sum, byte| sum << 7 | usize::from(byte & 0x7f)))
}

/// Where the header ends: behind the first byte of the length that announces no other.
fn body_start(bytes: &[u8]) -> usize {
    2 + bytes.iter().skip(1).take_while(|byte| **byte >= 0x80).count()
}

/// The text that begins here, behind two bytes of length.
fn text(bytes: &[u8]) -> &[u8] {
    &bytes[2..2 + usize::from(u16::from_be_bytes([bytes[0], bytes[1]]))]
}

/// A topic itself, or its level by `+` at the end.
fn matches(filter: &[u8], topic: &[u8]) -> bool {
    let level = filter.strip_suffix(b"+").and_then(|root| topic.strip_prefix(root));
    filter == topic || level.is_some_and(|level| !level.contains(&b'/'))
}
