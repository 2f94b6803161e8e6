//! One MQTT connection: from CONNECT to the last PINGRESP. Routes each packet to the role it concerns.
//! Must not poll or read clocks. Neighbours: `worker` drives it; `publisher`, `subscriber` and
//! `device` do the work.

use std::fmt;

use super::device::{Device, SESSION_EXPIRY_SECS, Visit};
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
    Device(Box<Device>),
    /// Holds its connection, by number.
    Idle(u32),
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Publisher(publisher) => write!(f, "publisher {}", publisher.index),
            Self::Subscriber(subscriber) => write!(f, "subscriber {}", subscriber.index),
            Self::Device(device) => write!(f, "device {}", device.index),
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
    /// A device finishes its own handshakes before it goes away.
    Quitting,
    /// DISCONNECT is on its way; whatever comes now is not looked at, because the broker has to send it again.
    Departing,
    /// The connection is closed, and the device will come back.
    Away,
    /// The last PINGREQ is on its way.
    Leaving,
    /// PINGRESP has come: all that the broker had queued before is here.
    Done,
    /// The last DISCONNECT is on its way: the broker closes the connection.
    Left,
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
    pub(super) fn new(link: Link, role: Role, plan: &Plan) -> Self {
        let mut client = Self { link, stage: Stage::Greeting, role };
        client.greet(plan);
        client
    }

    /// Goes on with another connection.
    pub(super) fn redial(&mut self, link: Link, plan: &Plan) {
        self.link = link;
        self.stage = Stage::Greeting;
        self.greet(plan);
    }

    fn greet(&mut self, plan: &Plan) {
        let (letter, index) = match &self.role {
            Role::Publisher(publisher) => ('p', publisher.index),
            Role::Subscriber(subscriber) => ('s', subscriber.index),
            Role::Device(device) => ('d', device.index),
            Role::Idle(index) => ('i', *index),
        };
        // At most 21 bytes of letters and digits: every broker has to take that [MQTT-3.1.3-5].
        let client_id = format!("lg{:08x}{letter}{index}", plan.run);
        // A session that begins clean ends with its connection in 3.1.1, so even the first one does not.
        let kept = matches!(&self.role, Role::Device(device) if plan.keeps_sessions() && device.visit != Visit::Last);
        let connect = Connect {
            version: plan.flags.protocol,
            client_id: &client_id,
            clean_start: !kept,
            session_expiry_secs: if kept { SESSION_EXPIRY_SECS } else { 0 },
            keep_alive_secs: u16::MAX,
        };
        wire::connect(&mut self.link.unsent, &connect);
    }

    /// What this client publishes.
    #[inline]
    pub(super) fn publisher_mut(&mut self) -> Option<&mut Publisher> {
        match &mut self.role {
            Role::Publisher(publisher) => Some(publisher),
            Role::Device(device) => Some(&mut device.publisher),
            Role::Subscriber(_) | Role::Idle(_) => None,
        }
    }

    /// What this client receives.
    pub(super) fn subscriber(&self) -> Option<&Subscriber> {
        match &self.role {
            Role::Subscriber(subscriber) => Some(subscriber),
            Role::Device(device) => Some(&device.subscriber),
            Role::Publisher(_) | Role::Idle(_) => None,
        }
    }

    /// A subscriber that does not read for the time of the run.
    pub(super) fn is_stalled(&self) -> bool {
        self.subscriber().is_some_and(|subscriber| subscriber.stalled)
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
        if matches!(self.stage, Stage::Departing | Stage::Left) {
            return Ok(bytes.len());
        }
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
                (Role::Device(device), Packet::Publish(publish)) => {
                    device.subscriber.take(&publish, now_ns, (plan, filler), &mut self.link.unsent, score);
                }
                (_, packet) => self.route(&packet, now_ns, plan, score)?,
            }
        }
    }

    /// Everything but the messages of a subscriber.
    fn route(&mut self, packet: &Packet<'_>, now_ns: u64, plan: &Plan, score: &mut Score<'_>) -> Result<(), String> {
        let out = &mut self.link.unsent;
        match (&mut self.role, self.stage, packet) {
            (_, Stage::Greeting, Packet::Connack(connack)) => return self.welcomed(connack, now_ns, plan, score),
            (_, Stage::Subscribing, Packet::Suback(suback)) => return self.subscribed(suback, plan),
            (_, Stage::Leaving, Packet::Pingresp) => self.stage = Stage::Done,
            (Role::Publisher(publisher), _, Packet::Ack(ack)) if ack.kind != AckKind::Pubrel => {
                publisher.acknowledged(ack, plan, out, score);
            }
            (Role::Subscriber(subscriber), _, Packet::Ack(ack)) if ack.kind == AckKind::Pubrel => {
                subscriber.release(ack.packet_id, plan, out, score);
            }
            (Role::Device(device), _, Packet::Ack(ack)) => match ack.kind {
                AckKind::Pubrel => device.subscriber.release(ack.packet_id, plan, out, score),
                _ => device.publisher.acknowledged(ack, plan, out, score),
            },
            (_, _, Packet::Disconnect { reason }) => return Err(format!("sent DISCONNECT with reason {reason:#04x}")),
            (_, stage, packet) => return Err(format!("sent {packet:?} to a client that is {stage:?}")),
        }
        Ok(())
    }

    fn welcomed(&mut self, connack: &Connack, now_ns: u64, plan: &Plan, score: &mut Score<'_>) -> Result<(), String> {
        if connack.reason != 0 {
            return Err(format!("refused CONNECT with code {:#04x}", connack.reason));
        }
        if connack.maximum_qos < plan.qos {
            return Err(format!("takes at most QoS {}", connack.maximum_qos.number()));
        }
        if let Some(bytes) = connack.packet_bytes_max.filter(|&bytes| (bytes as usize) < plan.scenario.payload_bytes) {
            return Err(format!("takes packets of at most {bytes} bytes"));
        }
        let visit = if let Role::Device(device) = &self.role { device.visit } else { Visit::First };
        // [MQTT-3.2.2-1] to [MQTT-3.2.2-3]
        if connack.session_present != (visit == Visit::Return) {
            score.tally.protocol_errors += 1;
            let present = if connack.session_present { "a session that was not there" } else { "no session to resume" };
            score.note(format!("{}: CONNACK speaks of {present}", self.role));
        }
        if let Some(publisher) = self.publisher_mut() {
            publisher.limit(connack);
        }
        self.stage = Stage::Ready;
        match (&mut self.role, visit) {
            (_, Visit::Last) => self.disconnect(plan),
            (Role::Device(device), Visit::Return) => device.subscriber.resumed_ns = now_ns,
            _ => self.ask(plan),
        }
        Ok(())
    }

    /// Sends SUBSCRIBE, if this client receives anything.
    fn ask(&mut self, plan: &Plan) {
        let Some(receiver) = self.subscriber().map(|subscriber| subscriber.index as usize) else { return };
        let subscribe = Subscribe { packet_id: 1, filter: plan.filters[receiver].as_bytes(), qos: plan.qos };
        wire::subscribe(&mut self.link.unsent, &subscribe, plan.flags.protocol);
        self.stage = Stage::Subscribing;
    }

    fn subscribed(&mut self, suback: &Suback, plan: &Plan) -> Result<(), String> {
        if suback.reason != plan.qos.number() {
            return Err(format!("answered SUBSCRIBE of QoS {} with {:#04x}", plan.qos.number(), suback.reason));
        }
        self.stage = Stage::Ready;
        Ok(())
    }

    /// Sends the last DISCONNECT.
    pub(super) fn disconnect(&mut self, plan: &Plan) {
        wire::disconnect(&mut self.link.unsent, 0, plan.flags.protocol);
        self.stage = Stage::Left;
    }

    /// Sends the last PINGREQ.
    pub(super) fn leave(&mut self) {
        if self.stage == Stage::Ready {
            wire::pingreq(&mut self.link.unsent);
            self.stage = Stage::Leaving;
        }
    }

    /// Sends DISCONNECT if this client's own handshakes are complete; says whether it did.
    pub(super) fn depart(&mut self, plan: &Plan) -> bool {
        if self.publisher_mut().is_some_and(|publisher| publisher.unacknowledged() > 0) {
            return false;
        }
        wire::disconnect(&mut self.link.unsent, 0, plan.flags.protocol);
        self.stage = Stage::Departing;
        true
    }

    /// Handshakes that are not complete.
    pub(super) fn unacknowledged(&self) -> u64 {
        match &self.role {
            Role::Publisher(publisher) => publisher.unacknowledged(),
            Role::Subscriber(subscriber) => subscriber.unreleased(),
            Role::Device(device) => device.publisher.unacknowledged() + device.subscriber.unreleased(),
            Role::Idle(_) => 0,
        }
    }

    /// Nothing is owed to the broker and nothing is due from it, as far as this connection can know.
    pub(super) fn is_settled(&self) -> bool {
        match self.stage {
            Stage::Lost => true,
            Stage::Quitting | Stage::Departing | Stage::Away | Stage::Greeting => false,
            _ => self.link.unsent_bytes() == 0 && self.unacknowledged() == 0,
        }
    }
}
