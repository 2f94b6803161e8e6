//! CONNECT: from the first bytes of a connection to CONNACK (section 3.1).
//!
//! Duty: find the owner shard, refuse what may not connect, take over or resume or make the session.
//! Must not: deliver (that is `deliver`). Neighbours: `receive` calls; `grant` judges; `disconnect` ends sessions.

use std::num::NonZeroU64;
use std::sync::Arc;

use super::authenticate::Identity;
use super::explain::put_refusal;
use super::grant::{
    audience_of, charged, check, check_rules, check_will, client_first, grant, granted_expiry_secs,
    granted_keep_alive_secs, is_within, name, packet_bytes_max, will_cost,
};
use super::retain::will_message;
use super::rights::watch_of;
use super::{Event, Next, Outbox, Shard};
use crate::auth::{Asked, Entrance, Terms, Warrant};
use crate::id::{ConnectionId, Millis, PublisherId, SessionId, ShardId};
use crate::session::{Account, LastWill, Session};
use crate::topic::{TopicLimits, TopicName};
use crate::wire::{self, Connack, Connect, Framed, ProtocolVersion, QoS, ReasonCode};

/// How a TLS connection begins (RFC 8446 section 5.1): with MQTT, a CONNECT with flags that it cannot have.
const TLS_HANDSHAKE: [u8; 2] = [0x16, 3];

/// Why a CONNECT is refused.
pub(super) type Fault = (ReasonCode, &'static str);

/// Why a CONNECT does not let the client in.
enum Stop {
    Refused(Fault),
    /// It is not refused, but waits or moves.
    NotNow(Next),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Refused(fault)
    }
}

/// What is known of a client that is let in besides its CONNECT.
struct Guest<'a> {
    entrance: Entrance<'a>,
    publisher: PublisherId,
    /// Whether its client id is ours.
    has_generated_id: bool,
    is_certified: bool,
    /// Whether a certificate or anything else has proved its user name.
    is_proven: bool,
    warrant: Option<Arc<Warrant>>,
}

/// The client as a publisher.
pub(super) fn publisher_of(client_id: &str, hash_seed: u64) -> PublisherId {
    let hash = ahash::RandomState::with_seeds(hash_seed, 0x9e37, 0x79b9, 0x7f4a).hash_one(client_id);
    PublisherId(NonZeroU64::new(hash).unwrap_or(NonZeroU64::MIN))
}

/// The shard on which a client lives for as long as the broker runs.
pub fn owner_of(client_id: &str, hash_seed: u64, shards: usize) -> ShardId {
    home_of(publisher_of(client_id, hash_seed), shards)
}

fn home_of(PublisherId(hash): PublisherId, shards: usize) -> ShardId {
    let index = (u128::from(hash.get()) * shards as u128) >> 64;
    ShardId(u16::try_from(index).expect("fewer shards than SHARDS_MAX"))
}

impl Shard {
    /// The first packet of a connection.
    pub(super) fn receive_connect(
        &mut self,
        now: Millis,
        id: ConnectionId,
        bytes: &[u8],
        outbox: &mut Outbox,
    ) -> Result<usize, Next> {
        if self.logins.exchanges.has(id) {
            return self.receive_proof(now, id, bytes, outbox);
        }
        // CONNECT is known by its first byte: anything else is not buffered (cases W01 to W09).
        if bytes.first().is_some_and(|&first| first >> 4 != 1) {
            self.counters.refused_first_packets += 1;
            return Err(self.refuse_silently(id, ReasonCode::ProtocolError, "the first packet is not CONNECT", outbox));
        }
        if bytes.starts_with(&TLS_HANDSHAKE) {
            self.counters.refused_first_packets += 1;
            let what = "a TLS handshake on a port without TLS";
            return Err(self.refuse_silently(id, ReasonCode::MalformedPacket, what, outbox));
        }
        let frame = match wire::frame(bytes, self.config.limits.preauth_bytes_max) {
            Ok(Framed::Whole(frame)) => frame,
            Ok(Framed::Partial { needed }) => return Err(self.await_connect(id, needed, outbox)),
            Err(error) => {
                let is_large = error.reason == ReasonCode::PacketTooLarge;
                self.counters.refused_large_connects += u64::from(is_large);
                self.counters.refused_first_packets += u64::from(!is_large);
                return Err(self.refuse_silently(id, error.reason, error.what, outbox));
            }
        };
        let connect = match Connect::decode(&frame) {
            Ok(connect) => connect,
            Err(error) => {
                let audience = audience_of(&frame);
                return Err(self.refuse_connect(id, audience, error.reason, error.what, outbox));
            }
        };
        self.consider(now, id, (connect, &bytes[..frame.len]), None, outbox)?;
        Ok(frame.len)
    }

    /// What becomes of a CONNECT that parses, and stands here with its bytes. `proof`: our last message to a client that has proved by
    /// SCRAM who it is; without it, such a client is asked for the proof first.
    pub(super) fn consider(
        &mut self,
        now: Millis,
        id: ConnectionId,
        (connect, bytes): (Connect<'_>, &[u8]),
        proof: Option<&str>,
        outbox: &mut Outbox,
    ) -> Result<(), Next> {
        let audience = Some((connect.version, packet_bytes_max(&connect)));
        self.let_in(now, id, (connect, bytes), proof, outbox).map_err(|stop| match stop {
            Stop::Refused((reason, what)) => self.refuse_connect(id, audience, reason, what, outbox),
            Stop::NotNow(next) => next,
        })
    }

    /// Lets the client in if nothing is against it. Names come first, as all else is judged by them.
    fn let_in(
        &mut self,
        now: Millis,
        id: ConnectionId,
        (mut connect, bytes): (Connect<'_>, &[u8]),
        proof: Option<&str>,
        outbox: &mut Outbox,
    ) -> Result<(), Stop> {
        let policy = Arc::clone(&self.policy);
        let entrance = policy.entrance(self.listener_of(id));
        let (certified, warrant) = (self.logins.certified(id), self.logins.warrant(id));
        let first = client_first(&connect, entrance.rules)?;
        let by_scram = first.as_ref().map(|first| &*first.user);
        let warranted = warrant.as_ref().and_then(|warrant| warrant.user.as_deref());
        name(&mut connect, entrance.terms, certified.as_deref(), warranted, by_scram)?;
        let mut publisher = publisher_of(connect.client_id, self.config.hash_seed);
        let owner = home_of(publisher, self.config.shards);
        if owner != self.id() && !connect.client_id.is_empty() {
            if proof.is_some() {
                let what = "the terms of the listener have changed: connect again";
                return Err(Stop::Refused((ReasonCode::ServerBusy, what)));
            }
            self.connections.remove(id);
            self.logins.forget(id);
            return Err(Stop::NotNow(Next::Handoff(owner)));
        }
        check(&connect, &self.config.limits)?;
        check_rules(&connect, entrance, &self.config.limits)?;
        self.check_room(&connect)?;
        let identity = match (proof, &first) {
            (None, Some(first)) => self.ask_for_proof(id, entrance.rules, first, (&connect, bytes), outbox)?,
            (None, None) if certified.is_none() => self.authenticate(id, entrance, &connect, bytes.len(), outbox)?,
            _ => Identity::Known { is_proven: true, warrant: None },
        };
        let (is_proven, warrant) = match identity {
            Identity::Awaited => return Err(Stop::NotNow(Next::AwaitDrain)),
            Identity::Asked => return Ok(()),
            Identity::Known { is_proven, warrant } => (is_proven, warrant),
        };
        self.check_session_owner(connect.client_id, connect.user_name, is_proven)?;
        let mounted = connect.last_will.as_ref().map(|will| entrance.terms.mounted(will.topic));
        if let (Some(will), Some(topic)) = (&mut connect.last_will, &mounted) {
            will.topic = topic;
        }
        let generated = connect.client_id.is_empty().then(|| self.generate_client_id(entrance.terms));
        if let Some(client_id) = &generated {
            (connect.client_id, publisher) = (client_id, publisher_of(client_id, self.config.hash_seed));
        }
        let (has_generated_id, is_certified) = (generated.is_some(), certified.is_some());
        let guest = Guest { entrance, publisher, has_generated_id, is_certified, is_proven, warrant };
        Ok(self.accept(now, id, &connect, guest, proof, outbox)?)
    }

    /// Bytes that CONNECT packets which are not complete, or wait for a verdict, may have on this shard.
    pub(super) fn preauth_bytes_max(&self) -> usize {
        let limits = &self.config.limits;
        // One packet always has room.
        (limits.preauth_bytes_total_max / self.config.shards).max(limits.preauth_bytes_max as usize)
    }

    /// A CONNECT has begun. Its memory is counted from the moment that its header announces it, so that many who announce
    /// much and send little cannot have more than their part.
    fn await_connect(&mut self, id: ConnectionId, needed: Option<usize>, outbox: &mut Outbox) -> Next {
        let bytes_max = self.preauth_bytes_max();
        // At most `preauth_bytes_max`, as it was framed with that.
        let announced = needed.unwrap_or(0) as u32;
        if self.connections.announce(id, announced, bytes_max) {
            return Next::Read { needed };
        }
        self.counters.refused_preauth_bytes += 1;
        self.refuse_silently(id, ReasonCode::ServerBusy, "preauth_bytes_total_max is reached", outbox)
    }

    /// Whether there is room for the session, or it is there already.
    fn check_room(&mut self, connect: &Connect<'_>) -> Result<(), Fault> {
        if connect.last_will.as_ref().is_some_and(|will| !self.budget.open().admits(will_cost(will))) {
            self.counters.refused_over_budget += 1;
            return Err((ReasonCode::QuotaExceeded, "a will larger than what is left of held_bytes_per_shard_max"));
        }
        if self.keep.refuses() && granted_expiry_secs(connect, &self.config.limits) > 0 {
            self.counters.refused_by_store += 1;
            return Err((
                ReasonCode::QuotaExceeded,
                "the session could not be stored: the disk is full, or a write has failed",
            ));
        }
        let limits = &self.config.limits;
        let is_full = self.sessions.len() >= limits.sessions_per_shard_max;
        let user_sessions = connect.user_name.map_or(0, |user_name| self.sessions.of_user(user_name));
        let is_user_full = user_sessions >= limits.sessions_per_user_per_shard_max;
        if !is_full && !is_user_full {
            return Ok(());
        }
        let existing = self.sessions.by_client_id(connect.client_id).and_then(|id| self.sessions.get_mut(id));
        if is_full && existing.is_none() {
            self.counters.refused_sessions += 1;
            return Err((ReasonCode::QuotaExceeded, "sessions_per_shard_max is reached"));
        }
        if is_user_full && existing.is_none_or(|session| session.user_name.as_deref() != connect.user_name) {
            self.counters.refused_user_sessions += 1;
            return Err((ReasonCode::QuotaExceeded, "sessions_per_user_per_shard_max is reached"));
        }
        Ok(())
    }

    /// Admits the client, unless it could not take the CONNACK that says so.
    fn accept(
        &mut self,
        now: Millis,
        id: ConnectionId,
        connect: &Connect<'_>,
        mut guest: Guest<'_>,
        proof: Option<&str>,
        outbox: &mut Outbox,
    ) -> Result<(), Fault> {
        let Entrance { policy, terms, rules, .. } = guest.entrance;
        let last_will = connect.last_will.as_ref();
        if last_will.is_some_and(|will| TopicName::new(will.topic, TopicLimits::from(&self.config.limits)).is_err()) {
            return Err((ReasonCode::TopicNameInvalid, "the will's topic name is too long behind its mount point"));
        }
        let grants = guest.warrant.as_ref().and_then(|warrant| warrant.grants.as_ref());
        let asked = Asked { user: connect.user_name, client_id: connect.client_id, grants };
        check_will(connect, asked, rules).inspect_err(|_| self.counters.publishes_denied += 1)?;
        let connack = Connack {
            maximum_qos: (terms.maximum_qos != QoS::ExactlyOnce).then_some(terms.maximum_qos),
            retain_available: (!policy.retain_available).then_some(false),
            // [MQTT-4.12.0-5]
            authentication_method: connect.authentication_method,
            authentication_data: proof.map(str::as_bytes),
            ..grant(connect, guest.has_generated_id, terms, &self.config.limits)
        };
        if !is_within(&connack, connect) {
            // [MQTT-3.2.2-16]: seen before anybody is taken over.
            let what = "CONNACK would be larger than the client's Maximum Packet Size";
            return Err((ReasonCode::PacketTooLarge, what));
        }
        let changes = outbox.records.changes.len();
        let watch = watch_of(guest.entrance, guest.warrant.as_deref());
        let warrant = guest.warrant.take().map(|warrant| self.charge_warrant(warrant)).transpose()?;
        let (session_id, session_present) = self.admit(now, id, connect, guest.publisher, outbox);
        self.know_client(session_id, connect.user_name, &guest, warrant);
        self.logins.forget(id);
        let keep_alive_secs = granted_keep_alive_secs(connect, &self.config.limits);
        let connection = self.connections.admit(id, session_id).expect("found by the caller");
        (connection.watch, connection.is_by_scram) = (watch, proof.is_some());
        connection.publisher = Some(guest.publisher);
        connection.is_particular = terms.mount_point.is_some();
        connection.heard_at = now;
        connection.agree(connect, keep_alive_secs, &self.config.limits, terms);
        let deadline = connection.silent_at().min(self.sessions.warrant_ends_at(session_id.slot));
        self.look_at(id.slot, now, deadline);
        self.keep_session(now, session_id, outbox);
        if outbox.records.changes.len() > changes {
            // What CONNACK says of the session must be true after a crash, also that an older one has ended.
            self.hold(id, outbox);
        }
        let connack = Connack { session_present, ..connack };
        outbox.egress.control(id.slot, |out| connack.encode(connect.version, out));
        self.counters.connects += 1;
        self.counters.packets_received += 1;
        outbox.events.push(connected(id, connect, keep_alive_secs));
        if session_present {
            self.groups_of_session_online(session_id, true, outbox);
            self.pump(now, session_id, outbox);
        }
        Ok(())
    }

    /// Takes over, resumes or makes the session. Says whether it was there.
    fn admit(
        &mut self,
        now: Millis,
        id: ConnectionId,
        connect: &Connect<'_>,
        publisher: PublisherId,
        outbox: &mut Outbox,
    ) -> (SessionId, bool) {
        let (mut session_id, mut was_there) = self.obtain_session(connect.client_id);
        if was_there {
            let online = self.sessions.get_mut(session_id).and_then(|session| session.connection);
            if let Some(old) = online {
                // [MQTT-3.1.4-3]: the older connection is told and closed; its will is due as for any lost connection.
                self.close(now, old, ReasonCode::SessionTakenOver, "another connection uses the client id", outbox);
            }
            if connect.clean_start {
                self.end_session(now, session_id, outbox);
            }
            (session_id, was_there) = self.obtain_session(connect.client_id);
        }
        if self.keep.is_on() && !was_there && granted_expiry_secs(connect, &self.config.limits) > 0 {
            self.begin_to_keep(session_id);
        }
        let limits = &self.config.limits;
        let session = self.sessions.get_mut(session_id).expect("just found or made");
        session.connection = Some(id);
        session.ends_at = Millis::NEVER;
        session.expiry_secs = granted_expiry_secs(connect, limits);
        // A will that still waits is not published when the client is back in time [MQTT-3.1.3-9].
        session.last_will = connect.last_will.as_ref().map(|will| {
            Box::new(LastWill {
                account: charged(&self.budget, will),
                message: will_message(will, publisher),
                expiry_secs: will.properties.message_expiry_secs,
                delay_secs: will.delay_secs,
                due_at: None,
            })
        });
        let receive_maximum = connect.receive_maximum.unwrap_or(u16::MAX);
        session.outbound.inflight.resume(receive_maximum.min(limits.inflight_messages_max));
        (session_id, was_there)
    }

    fn obtain_session(&mut self, client_id: &str) -> (SessionId, bool) {
        let Self { sessions, config, budget, .. } = self;
        sessions.obtain(client_id, || Session::new(client_id.into(), &config.limits, budget))
    }

    /// A warrant with the account that pays for it.
    fn charge_warrant(&mut self, warrant: Arc<Warrant>) -> Result<(Arc<Warrant>, Account), Fault> {
        let mut account = self.budget.open();
        if !account.admits(warrant.cost()) {
            self.counters.refused_over_budget += 1;
            return Err((ReasonCode::QuotaExceeded, "rights larger than what is left of held_bytes_per_shard_max"));
        }
        account.charge(warrant.cost());
        Ok((warrant, account))
    }

    /// Notes whose session it is now and what lets the client in; what was decided for somebody else, or by other rights, is
    /// decided anew.
    fn know_client(
        &mut self,
        id: SessionId,
        user: Option<&str>,
        guest: &Guest<'_>,
        warrant: Option<(Arc<Warrant>, Account)>,
    ) {
        self.logins.has_owners |= guest.is_proven;
        let grants = warrant.as_ref().and_then(|(warrant, _)| warrant.grants.as_ref());
        let has_other_grants = self.sessions.grants(id.slot) != grants;
        self.sessions.set_warrant(id, warrant);
        let is_other_user = self.sessions.set_user(id, user);
        let Some(session) = self.sessions.get_mut(id) else { return };
        let is_other = is_other_user || session.listener != guest.entrance.listener;
        if has_other_grants || is_other && self.limits_rights {
            session.outbound.doubt();
            self.subscribers.forget();
        }
        session.listener = guest.entrance.listener;
        (session.is_user_proven, session.is_certified) = (guest.is_proven, guest.is_certified);
    }

    /// An id that nobody uses and that belongs here [MQTT-3.1.3-6].
    fn generate_client_id(&mut self, terms: &Terms) -> Box<str> {
        loop {
            self.ids_generated += 1;
            let hasher = ahash::RandomState::with_seeds(self.config.id_seed, 1, 2, 3);
            let prefix = terms.generated_id_prefix.as_deref().unwrap_or("auto-");
            let client_id = format!("{prefix}{:016X}", hasher.hash_one(self.ids_generated));
            let is_ours = owner_of(&client_id, self.config.hash_seed, self.config.shards) == self.id();
            if is_ours && self.sessions.by_client_id(&client_id).is_none() {
                return client_id.into();
            }
        }
    }

    /// `audience` is whom to tell: its dialect and Maximum Packet Size.
    pub(super) fn refuse_connect(
        &mut self,
        id: ConnectionId,
        audience: Option<(ProtocolVersion, usize)>,
        reason: ReasonCode,
        what: &'static str,
        outbox: &mut Outbox,
    ) -> Next {
        self.counters.refused_connects += 1;
        // 3.x knows no code for a CONNECT that does not parse: close without an answer (cases W11 to W15).
        let is_told = |(version, _): &(ProtocolVersion, usize)| {
            *version == ProtocolVersion::V5
                || !matches!(reason, ReasonCode::MalformedPacket | ReasonCode::ProtocolError)
        };
        if let Some((version, bytes_max)) = audience.filter(is_told) {
            outbox.egress.control(id.slot, |out| put_refusal(reason, what, version, bytes_max, out));
        }
        self.refuse_silently(id, reason, what, outbox)
    }

    fn refuse_silently(
        &mut self,
        id: ConnectionId,
        reason: ReasonCode,
        what: &'static str,
        outbox: &mut Outbox,
    ) -> Next {
        self.refuse_connection(id, reason, what, outbox);
        Next::Closed
    }
}

/// A client was admitted.
fn connected(connection: ConnectionId, connect: &Connect<'_>, keep_alive_secs: u16) -> Event {
    Event::Connected {
        connection,
        client_id: connect.client_id.into(),
        user: connect.user_name.map(Box::from),
        version: connect.version,
        clean_start: connect.clean_start,
        keep_alive_secs,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::scram::Secret;
    use crate::limits::Limits;
    use crate::session::LargePayloads;
    use crate::shard::ShardConfig;

    /// [MQTT-3.1.3-6]: an id that is given by a shard belongs to it.
    #[test]
    fn a_generated_client_id_belongs_to_the_shard() {
        let mut shard = Shard::new(ShardConfig {
            shard: ShardId(1),
            shards: 2,
            hash_seed: 1,
            id_seed: 1,
            secret: Secret::new([9; 32]),
            limits: Limits::default(),
            large_payloads: LargePayloads::default(),
            is_faulty: false,
            store: None,
            policy: Arc::default(),
        });
        for _ in 0..50 {
            assert_eq!(owner_of(&shard.generate_client_id(&Terms::default()), 1, 2), ShardId(1));
        }
    }
}
