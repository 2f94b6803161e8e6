//! One MQTT connection: from CONNECT to the last PINGRESP. Routes each packet to the role it concerns.
//! Must not poll or read clocks. Neighbours: `worker` drives it, `publisher` and `subscriber` do the work.

use std::fmt;

use super::link::Link;
use super::publisher::Publisher;
use super::score::Score;
use super::subscriber::Subscriber;
use crate::plan::Plan;
use crate::wire::{self, AckKind, Connack, Connect, Packet, Suback, Subscribe};

/// What a client is there for.
#[derive(Debug)]
pub(super) enum Role {
    Publisher(Publisher),
    Subscriber(Subscriber),
    /// Holds its connection, by number.
    Idle(u32),
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Publisher(publisher) => write!(f, "publisher {}", publisher.index),
            Self::Subscriber(subscriber) => write!(f, "subscriber {}", subscriber.index),
            Self::Idle(index) => write!(f, "idle connection {index}"),
        }
    }
}

/// How far a client has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// CONNECT is on its way or waits for the socket.
    Greeting,
    /// SUBSCRIBE is on its way.
    Subscribing,
    /// It does what it is there for.
    Ready,
    /// The last PINGREQ is on its way.
    Leaving,
    /// PINGRESP has come: all that the broker had queued before is here.
    Done,
    /// The connection is closed.
    Lost,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) link: Link,
    pub(super) stage: Stage,
    pub(super) role: Role,
}

impl Client {
    /// A client whose CONNECT waits for the socket to be connected.
    pub(super) fn new(mut link: Link, role: Role, plan: &Plan) -> Self {
        let (letter, index) = match &role {
            Role::Publisher(publisher) => ('p', publisher.index),
            Role::Subscriber(subscriber) => ('s', subscriber.index),
            Role::Idle(index) => ('i', *index),
        };
        // At most 21 bytes of letters and digits: every broker has to take that [MQTT-3.1.3-5].
        let client_id = format!("lg{:08x}{letter}{index}", plan.run);
        let version = plan.flags.protocol;
        let connect =
            Connect { version, client_id: &client_id, clean_start: true, session_expiry_secs: 0, keep_alive_secs: 0 };
        wire::connect(&mut link.unsent, &connect);
        Self { link, stage: Stage::Greeting, role }
    }

    /// Takes all whole packets in `bytes` and gives the number of bytes taken; answers wait in the link.
    ///
    /// Errors: one sentence, when the broker refuses or breaks the protocol so that the connection is of no more use.
    #[inline]
    pub(super) fn consume(
        &mut self,
        bytes: &[u8],
        now_ns: u64,
        (plan, filler): (&Plan, &[u8]),
        score: &mut Score<'_>,
    ) -> Result<usize, String> {
        let mut used = 0;
        loop {
            let packet = match wire::decode(&bytes[used..], plan.flags.protocol) {
                Ok(Some((packet, packet_bytes))) => {
                    used += packet_bytes;
                    packet
                }
                Ok(None) => return Ok(used),
                Err(error) => return Err(format!("sent a malformed packet: {error}")),
            };
            match (&mut self.role, packet) {
                (Role::Subscriber(subscriber), Packet::Publish(publish)) => {
                    subscriber.take(&publish, now_ns, (plan, filler), &mut self.link.unsent, score);
                }
                (_, packet) => self.route(&packet, plan, score)?,
            }
        }
    }

    /// Everything but the messages of a subscriber.
    fn route(&mut self, packet: &Packet<'_>, plan: &Plan, score: &mut Score<'_>) -> Result<(), String> {
        let out = &mut self.link.unsent;
        match (&mut self.role, self.stage, packet) {
            (_, Stage::Greeting, Packet::Connack(connack)) => return self.welcomed(connack, plan),
            (_, Stage::Subscribing, Packet::Suback(suback)) => return self.subscribed(suback, plan),
            (_, Stage::Leaving, Packet::Pingresp) => self.stage = Stage::Done,
            (Role::Publisher(publisher), _, Packet::Ack(ack)) if ack.kind != AckKind::Pubrel => {
                publisher.acknowledged(ack, plan, out, score);
            }
            (Role::Subscriber(subscriber), _, Packet::Ack(ack)) if ack.kind == AckKind::Pubrel => {
                subscriber.release(ack.packet_id, plan, out, score);
            }
            (_, _, Packet::Disconnect { reason }) => return Err(format!("sent DISCONNECT with reason {reason:#04x}")),
            (_, stage, packet) => return Err(format!("sent {packet:?} to a client that is {stage:?}")),
        }
        Ok(())
    }

    fn welcomed(&mut self, connack: &Connack, plan: &Plan) -> Result<(), String> {
        if connack.reason != 0 {
            return Err(format!("refused CONNECT with code {:#04x}", connack.reason));
        }
        if connack.maximum_qos < plan.qos {
            return Err(format!("takes at most QoS {}", connack.maximum_qos.number()));
        }
        if let Some(bytes) = connack.packet_bytes_max.filter(|&bytes| (bytes as usize) < plan.scenario.payload_bytes) {
            return Err(format!("takes packets of at most {bytes} bytes"));
        }
        self.stage = Stage::Ready;
        match &mut self.role {
            Role::Publisher(publisher) => publisher.limit(connack),
            Role::Subscriber(subscriber) => {
                let filter = plan.filters[subscriber.index as usize].as_bytes();
                let subscribe = Subscribe { packet_id: 1, filter, qos: plan.qos };
                wire::subscribe(&mut self.link.unsent, &subscribe, plan.flags.protocol);
                self.stage = Stage::Subscribing;
            }
            Role::Idle(_) => (),
        }
        Ok(())
    }

    fn subscribed(&mut self, suback: &Suback, plan: &Plan) -> Result<(), String> {
        if suback.reason != plan.qos.number() {
            return Err(format!("answered SUBSCRIBE of QoS {} with {:#04x}", plan.qos.number(), suback.reason));
        }
        self.stage = Stage::Ready;
        Ok(())
    }

    /// Sends the last PINGREQ.
    pub(super) fn leave(&mut self) {
        if self.stage == Stage::Ready {
            wire::pingreq(&mut self.link.unsent);
            self.stage = Stage::Leaving;
        }
    }

    /// Handshakes that are not complete.
    pub(super) fn unacknowledged(&self) -> u64 {
        match &self.role {
            Role::Publisher(publisher) => publisher.unacknowledged(),
            Role::Subscriber(subscriber) => subscriber.unreleased(),
            Role::Idle(_) => 0,
        }
    }

    /// Nothing is owed to the broker and nothing is due from it, as far as this connection can know.
    pub(super) fn is_settled(&self) -> bool {
        self.stage == Stage::Lost || (self.link.unsent_bytes() == 0 && self.unacknowledged() == 0)
    }
}
