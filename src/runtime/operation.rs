//! Operation: which request to the ring a completion belongs to.
//!
//! Duty: pack kind, slot and generation into the 64 bits that a completion brings back. Must not: know what happens then.
//! Neighbours: `ring` packs and unpacks, `driver` routes by it.

use crate::id::ConnectionId;

/// Slots are packed into 24 bits.
pub(super) const SLOTS_MAX: usize = 1 << 24;

const KIND_SHIFT: u32 = 56;
const SLOT_SHIFT: u32 = 32;
const SLOT_MASK: u64 = SLOTS_MAX as u64 - 1;

/// A request to the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    /// Accept on the listener of this index.
    Accept(u32),
    /// Receive on a connection.
    Receive(ConnectionId),
    /// Send on a connection.
    Send(ConnectionId),
    /// Wait for another thread's call.
    Wake,
    /// Cancel another operation; the answer tells nothing that the operation's own completion does not.
    Cancel,
}

impl Operation {
    /// As it travels through the ring.
    pub(super) fn pack(self) -> u64 {
        let (kind, slot, generation) = match self {
            Self::Cancel => (0, 0, 0),
            Self::Wake => (1, 0, 0),
            Self::Accept(listener) => (2, listener, 0),
            Self::Receive(connection) => (3, connection.slot, connection.generation),
            Self::Send(connection) => (4, connection.slot, connection.generation),
        };
        debug_assert!(u64::from(slot) <= SLOT_MASK);
        (kind << KIND_SHIFT) | (u64::from(slot) << SLOT_SHIFT) | u64::from(generation)
    }

    /// From what came back. Only values of [`Operation::pack`] come back.
    pub(super) fn unpack(packed: u64) -> Self {
        let slot = ((packed >> SLOT_SHIFT) & SLOT_MASK) as u32;
        let connection = ConnectionId { slot, generation: packed as u32 };
        match packed >> KIND_SHIFT {
            1 => Self::Wake,
            2 => Self::Accept(slot),
            3 => Self::Receive(connection),
            4 => Self::Send(connection),
            _ => Self::Cancel,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_comes_back_as_it_was_sent() {
        let connection = ConnectionId { slot: SLOT_MASK as u32, generation: u32::MAX };
        for operation in [
            Operation::Accept(7),
            Operation::Receive(connection),
            Operation::Send(connection),
            Operation::Wake,
            Operation::Cancel,
        ] {
            assert_eq!(Operation::unpack(operation.pack()), operation);
        }
    }
}
