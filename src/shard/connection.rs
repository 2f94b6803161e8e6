//! What a shard knows of one network connection, and the table of them.
//!
//! Duty: the state that ends with the connection: protocol, keep alive, topic aliases, limits that the client announced.
//! Must not: outlive it (that is the session's). Neighbours: every room that reads or answers packets.

use std::collections::HashMap;
use std::sync::Arc;

use super::alarm::Alarm;
use super::grant::packet_bytes_max;
use super::rights::Watch;
use crate::auth::Terms;
use crate::id::{ConnectionId, Millis, PublisherId, SessionId};
use crate::limits::{Limits, REMAINING_LENGTH_MAX};
use crate::seldom::Seldom;
use crate::session::Account;
use crate::wire::{Connect, ProtocolVersion};

/// One network connection. There may be a million that say nothing, so it is small.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: ConnectionId,
    /// Set once CONNECT was accepted.
    pub(super) session: Option<SessionId>,
    /// Length that the header of its CONNECT has announced, bytes; 0 when that is there or none has come.
    announced_bytes: u32,
    pub(super) version: ProtocolVersion,
    /// The client, once CONNECT was accepted.
    pub(super) publisher: Option<PublisherId>,
    /// When the last packet came; until CONNECT, when the connection was accepted.
    pub(super) heard_at: Millis,
    /// Silence after which the connection is closed, milliseconds; until CONNECT, how long that may take.
    silence_millis_max: u32,
    /// Whether the silence is ours: the connection is not being read.
    pub(super) is_parked: bool,
    /// By which listener it came.
    pub(super) listener: u16,
    /// What is asked of its PUBLISH packets.
    pub(super) watch: Watch,
    /// Whether its packets are not those of others: it takes aliases, or its topics have a mount point.
    pub(super) is_particular: bool,
    /// The client's Maximum Packet Size, bytes.
    pub(super) packet_bytes_max: usize,
    /// The client's Request Problem Information.
    pub(super) wants_words: bool,
    /// Whether it came by SCRAM, and may prove again who it is.
    pub(super) is_by_scram: bool,
    /// Topics by alias, as the client set them; index 0 is alias 1.
    pub(super) aliases_in: Seldom<Vec<Option<Arc<str>>>>,
    pub(super) aliases_out: AliasesOut,
    /// Charged for a large packet that is not complete.
    pub(super) announced: Option<Box<Account>>,
}

impl Connection {
    pub(super) fn new(id: ConnectionId, accepted_at: Millis, connect_timeout_ms: u64, listener: u16) -> Self {
        Self {
            id,
            session: None,
            announced_bytes: 0,
            version: ProtocolVersion::V311,
            publisher: None,
            heard_at: accepted_at,
            silence_millis_max: in_millis(connect_timeout_ms),
            is_parked: false,
            listener,
            watch: Watch::Nothing,
            is_particular: false,
            packet_bytes_max: REMAINING_LENGTH_MAX as usize + 5,
            wants_words: true,
            is_by_scram: false,
            aliases_in: Seldom::new(),
            aliases_out: AliasesOut::default(),
            announced: None,
        }
    }

    /// Takes on what the client said at CONNECT, by a listener with these terms.
    pub(super) fn agree(&mut self, connect: &Connect<'_>, keep_alive_secs: u16, limits: &Limits, terms: &Terms) {
        self.version = connect.version;
        self.allow_silence(match keep_alive_secs {
            0 => limits.idle_secs_max.saturating_mul(1000),
            secs => u64::from(secs) * 1500,
        });
        self.packet_bytes_max = packet_bytes_max(connect);
        self.wants_words = connect.request_problem_information;
        let aliases_max = terms.topic_alias_out_max.unwrap_or(limits.topic_alias_out_max);
        self.aliases_out = AliasesOut::new(connect.topic_alias_maximum.min(aliases_max));
        self.is_particular |= self.aliases_out.is_allowed();
    }

    /// How long it may be silent from now on.
    pub(super) fn allow_silence(&mut self, millis: u64) {
        self.silence_millis_max = in_millis(millis);
    }

    /// How long it may be silent, milliseconds; `None`: for ever.
    pub(super) fn silence_allowed(&self) -> Option<u64> {
        (self.silence_millis_max != u32::MAX).then_some(self.silence_millis_max.into())
    }

    /// When it has been silent for too long.
    pub(super) fn silent_at(&self) -> Millis {
        match self.silence_millis_max {
            u32::MAX => Millis::NEVER,
            millis => self.heard_at.after_millis(millis.into()),
        }
    }
}

/// In four bytes; what is 49 days and more is for ever.
fn in_millis(millis: u64) -> u32 {
    u32::try_from(millis).unwrap_or(u32::MAX)
}

/// Topic aliases that we set towards the client (section 3.3.2.3.4). The first topics get them, and keep them.
#[derive(Debug, Default)]
pub(super) struct AliasesOut(Option<Box<Aliases>>);

#[derive(Debug)]
struct Aliases {
    max: u16,
    by_topic: HashMap<Box<str>, u16>,
}

impl AliasesOut {
    pub(super) fn new(max: u16) -> Self {
        Self((max > 0).then(|| Box::new(Aliases { max, by_topic: HashMap::new() })))
    }

    /// Whether the client takes any alias.
    pub(super) fn is_allowed(&self) -> bool {
        self.0.is_some()
    }

    /// The alias of a topic, and whether the client knows it already. `None`: the topic goes without.
    pub(super) fn of(&mut self, topic: &str) -> Option<(u16, bool)> {
        let Aliases { max, by_topic } = self.0.as_deref_mut()?;
        if let Some(&alias) = by_topic.get(topic) {
            return Some((alias, true));
        }
        let alias = u16::try_from(by_topic.len() + 1).ok().filter(|alias| alias <= max)?;
        by_topic.insert(topic.into(), alias);
        Some((alias, false))
    }
}

/// The connections of a shard, by slot.
#[derive(Debug, Default)]
pub(super) struct Connections {
    by_slot: Vec<Option<Connection>>,
    /// The timer of each slot, whoever has it, so that connections that come and go do not fill the wheel.
    alarms: Vec<Alarm>,
    live: usize,
    /// Those whose CONNECT was accepted.
    admitted: usize,
    /// Sum of what the connections have announced, bytes.
    announced_bytes: usize,
}

impl Connections {
    pub(super) fn insert(&mut self, connection: Connection) {
        let index = connection.id.slot as usize;
        if index >= self.by_slot.len() {
            self.by_slot.resize_with(index + 1, || None);
            self.alarms.resize_with(index + 1, Alarm::default);
        }
        debug_assert!(self.by_slot[index].is_none(), "a slot is free before it is opened");
        self.by_slot[index] = Some(connection);
        self.live += 1;
    }

    /// The timer of each slot.
    pub(super) fn alarm(&mut self, slot: u32) -> &mut Alarm {
        &mut self.alarms[slot as usize]
    }

    /// The CONNECT of a connection is there, and accepted.
    pub(super) fn admit(&mut self, id: ConnectionId, session: SessionId) -> Option<&mut Connection> {
        let connection = find(&mut self.by_slot, id)?;
        self.announced_bytes -= std::mem::take(&mut connection.announced_bytes) as usize;
        let is_new = connection.session.replace(session).is_none();
        self.admitted += usize::from(is_new);
        Some(connection)
    }

    /// Connections whose CONNECT was accepted.
    pub(super) fn admitted(&self) -> usize {
        self.admitted
    }

    /// A connection, to look at.
    pub(super) fn get(&self, id: ConnectionId) -> Option<&Connection> {
        self.by_slot.get(id.slot as usize)?.as_ref().filter(|connection| connection.id == id)
    }

    pub(super) fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        find(&mut self.by_slot, id)
    }

    pub(super) fn remove(&mut self, id: ConnectionId) -> Option<Connection> {
        let connection = self.get_mut(id)?;
        let (announced_bytes, is_admitted) = (connection.announced_bytes, connection.session.is_some());
        self.announced_bytes -= announced_bytes as usize;
        self.admitted -= usize::from(is_admitted);
        self.live -= 1;
        self.by_slot[id.slot as usize].take()
    }

    /// Notes the length that the CONNECT of a connection has announced. False, and nothing noted, if with it the sum would be
    /// above `bytes_max`.
    pub(super) fn announce(&mut self, id: ConnectionId, bytes: u32, bytes_max: usize) -> bool {
        let others =
            self.announced_bytes - self.get_mut(id).map_or(0, |connection| connection.announced_bytes as usize);
        let sum = others + bytes as usize;
        if sum > bytes_max {
            return false;
        }
        if let Some(connection) = self.get_mut(id) {
            connection.announced_bytes = bytes;
            self.announced_bytes = sum;
        }
        true
    }

    /// The connection that has a slot.
    pub(super) fn at(&self, slot: u32) -> Option<ConnectionId> {
        self.by_slot.get(slot as usize)?.as_ref().map(|connection| connection.id)
    }

    pub(super) fn len(&self) -> usize {
        self.live
    }

    pub(super) fn ids(&self) -> Vec<ConnectionId> {
        self.by_slot.iter().flatten().map(|connection| connection.id).collect()
    }
}

fn find(by_slot: &mut [Option<Connection>], id: ConnectionId) -> Option<&mut Connection> {
    by_slot.get_mut(id.slot as usize)?.as_mut().filter(|connection| connection.id == id)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The budget of an idle client: 600 bytes in all, with session and driver.
    #[test]
    fn a_connection_costs_the_shard_no_more_than_its_budget() {
        assert!(size_of::<Option<Connection>>() <= 88, "{}", size_of::<Option<Connection>>());
        assert!(size_of::<Alarm>() <= 4);
    }

    /// 49 days and more do not fit, and are for ever.
    #[test]
    fn a_long_silence_that_is_allowed_never_ends_early() {
        let id = ConnectionId { slot: 0, generation: 0 };
        for (millis, at) in
            [(1500, 1600), (4_294_967_294, 4_294_967_394), (4_294_967_295, u64::MAX), (u64::MAX, u64::MAX)]
        {
            let mut connection = Connection::new(id, Millis(100), 10, 0);
            connection.allow_silence(millis);
            assert_eq!(connection.silent_at(), Millis(at), "{millis}");
        }
    }
}
