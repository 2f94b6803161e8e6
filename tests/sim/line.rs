//! A network connection: two pipes of bytes between a client and whichever shard holds the socket.
//!
//! Duty: hold bytes on their way and who has closed. Must not: look into them. Neighbours: `client` at one end, `node` at
//! the other.

use std::collections::VecDeque;

use ringmq::id::Millis;
use ringmq::shard::Cause;
use ringmq::wire::ProtocolVersion;

/// The client of lines whose other end is no client at all.
pub(crate) const STRANGER: usize = usize::MAX;

/// One network connection. Lines are numbered and never reused.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) client: usize,
    pub(crate) to_server: VecDeque<u8>,
    pub(crate) to_client: VecDeque<u8>,
    pub(crate) is_closed_by_client: bool,
    /// Open on paper: the client neither reads nor writes any more, and nobody told the broker.
    pub(crate) is_half_open: bool,
    pub(crate) is_closed_by_server: bool,
    pub(crate) version: ProtocolVersion,
    pub(crate) opened_at: Millis,
    pub(crate) asked: Asked,
    /// Session of the oracle, from the moment that the broker accepted CONNECT.
    pub(crate) session: Option<usize>,
    /// What CONNACK must say; nothing certain if the session was about to expire.
    pub(crate) is_session_present: Option<bool>,
    /// Whether CONNACK has come.
    pub(crate) is_welcomed: bool,
    /// Session expiry that DISCONNECT asked for, and whether it asked for the will.
    pub(crate) said_goodbye: Option<Goodbye>,
    /// Why the broker says that the connection ended.
    pub(crate) cause: Option<Cause>,
    pub(crate) will: WillFate,
}

/// What the CONNECT of the line says.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) is_clean: bool,
    pub(crate) expiry_secs: u32,
    pub(crate) will_delay_secs: Option<u32>,
    pub(crate) receive_maximum: u16,
    pub(crate) alias_max: u16,
    /// Maximum Packet Size, bytes.
    pub(crate) packet_bytes_max: Option<u32>,
}

/// What the DISCONNECT of the client says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Goodbye {
    pub(crate) expiry_secs: Option<u32>,
    pub(crate) with_will: bool,
}

/// What must become of the will of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WillFate {
    /// The connection lives, or the delay runs, or there is no will.
    Open,
    /// Published exactly once.
    Due,
    /// Never published.
    Never,
    /// The client came back when the delay was over and the timer perhaps not: at most once.
    Unclear,
}

impl Line {
    pub(crate) fn new(client: usize, version: ProtocolVersion, asked: Asked, opened_at: Millis) -> Self {
        Self {
            client,
            to_server: VecDeque::new(),
            to_client: VecDeque::new(),
            is_closed_by_client: false,
            is_half_open: false,
            is_closed_by_server: false,
            version,
            opened_at,
            asked,
            session: None,
            is_session_present: None,
            is_welcomed: false,
            said_goodbye: None,
            cause: None,
            will: WillFate::Open,
        }
    }

    /// The network fails: what the server has not read is lost from `kept_bytes` on.
    pub(crate) fn cut(&mut self, kept_bytes: usize) {
        self.to_server.truncate(kept_bytes);
        self.to_client.clear();
        self.is_closed_by_client = true;
    }
}
