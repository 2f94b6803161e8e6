//! Slots: the connections of one shard, by number.
//!
//! Duty: give out slots, tell the users of one apart by generation, keep a slot until nothing of its user is in flight (its
//! room decides when). Must not: know what a connection does. Neighbours: all rooms of the driver.

use super::connection::Connection;
use super::operation::SLOTS_MAX;
use crate::id::ConnectionId;

/// The connections of one shard.
#[derive(Debug, Default)]
pub(super) struct Slots {
    entries: Vec<Entry>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Entry {
    generation: u32,
    connection: Option<Connection>,
}

impl Slots {
    /// Connections that have a slot.
    pub(super) fn used(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// Gives a connection a slot; drops it if all are taken.
    pub(super) fn open(&mut self, connection: Connection) -> Option<ConnectionId> {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None if self.entries.len() < SLOTS_MAX => {
                self.entries.push(Entry { generation: 0, connection: None });
                (self.entries.len() - 1) as u32
            }
            None => return None,
        };
        let entry = &mut self.entries[slot as usize];
        entry.generation = entry.generation.wrapping_add(1);
        entry.connection = Some(connection);
        Some(ConnectionId { slot, generation: entry.generation })
    }

    /// A connection that is still there.
    pub(super) fn get(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        let entry = self.entries.get_mut(id.slot as usize)?;
        if entry.generation == id.generation { entry.connection.as_mut() } else { None }
    }

    /// Behind the last slot.
    pub(super) fn end(&self) -> u32 {
        self.entries.len() as u32
    }

    /// The present user of a slot, and how many bytes were received of it.
    pub(super) fn heard_of(&self, slot: u32) -> Option<(ConnectionId, u64)> {
        let Entry { generation, connection } = self.entries.get(slot as usize)?;
        let bytes = connection.as_ref()?.traffic.bytes_received();
        Some((ConnectionId { slot, generation: *generation }, bytes))
    }

    /// The present user of a slot.
    pub(super) fn user_of(&self, slot: u32) -> Option<ConnectionId> {
        let entry = self.entries.get(slot as usize)?;
        entry.connection.as_ref().map(|_| ConnectionId { slot, generation: entry.generation })
    }

    /// Takes a connection out; its slot is free.
    pub(super) fn close(&mut self, id: ConnectionId) -> Option<Connection> {
        self.get(id)?;
        self.free.push(id.slot);
        self.entries[id.slot as usize].connection.take()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpStream};

    use super::super::peer::Origin;
    use super::*;
    use crate::id::Millis;

    fn connection() -> Connection {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let peer = stream.local_addr().unwrap();
        Connection::new(stream.into(), Origin::plain(peer, 0), Millis(0))
    }

    #[test]
    fn the_next_user_of_a_slot_is_not_taken_for_the_last_one() {
        let mut slots = Slots::default();
        let first = slots.open(connection()).unwrap();
        assert!(slots.close(first).is_some());
        let second = slots.open(connection()).unwrap();
        assert_eq!(first.slot, second.slot);
        assert!(slots.get(first).is_none());
        assert!(slots.close(first).is_none());
        assert!(slots.get(second).is_some());
        assert_eq!(slots.used(), 1);
    }

    /// The budget of an idle connection: 600 bytes in all, with session and keep alive.
    #[test]
    fn an_idle_connection_costs_the_driver_no_more_than_its_budget() {
        assert!(size_of::<Entry>() <= 88, "{}", size_of::<Entry>());
    }
}
