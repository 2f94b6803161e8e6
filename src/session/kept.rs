//! Where a session, and what it is to get, stand in the store.
//!
//! Duty: number what is queued, so that records and packet ids follow from one number. Must not: write records. Neighbours:
//! `inflight` and `outbound` carry places; `shard/keep` makes records of them.
//!
//! The packet id of a message follows from its place, so that nothing need be written when it is sent, and after a restart it is
//! sent again with its original id [MQTT-4.4.0-1].

/// Bits of a sequence number that a place has.
const SEQUENCE_BITS: u32 = 31;
const SEQUENCE_MASK: u32 = (1 << SEQUENCE_BITS) - 1;

/// That a session is kept in the store.
#[derive(Debug)]
pub struct Kept {
    /// Its number there.
    pub number: u64,
    /// The sequence number that was given out last.
    last_sequence: u64,
    /// How far they may be given out by what the store knows.
    reserved: u64,
    /// How far they may be given out to messages that go to the window, with nothing to be told and no packet id passed over.
    plain_through: u64,
}

/// Sequence numbers that are reserved at a time, of which half are in use before more are: more than a window has, so that the store
/// knows of each before it is sent, and less than half of all packet ids.
pub const RESERVED_AT_ONCE: u64 = 4096;

/// The place of a message among those of its session: its sequence number, shortened, and whether there is a record of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place(u32);

impl Place {
    /// That of a message whose session is not kept.
    pub const NONE: Self = Self(0);

    fn new(sequence: u64, is_stored: bool) -> Self {
        Self(sequence as u32 & SEQUENCE_MASK | u32::from(is_stored) << SEQUENCE_BITS)
    }

    /// Whether it is none.
    pub fn is_none(self) -> bool {
        self.0 == 0
    }

    /// Whether there is a record of the message.
    pub fn is_stored(self) -> bool {
        self.0 > SEQUENCE_MASK
    }

    /// The packet id that belongs to it, of 1 to 65,535.
    pub fn packet_id(self) -> u16 {
        ((self.0 & SEQUENCE_MASK) - 1).rem_euclid(u32::from(u16::MAX)) as u16 + 1
    }
}

impl Kept {
    /// A session that has had no message yet, or none after that one. `reserved`: how far numbers may be given out by what the store
    /// knows; of a session that it has no such record of, as far as of a new one.
    pub fn new(number: u64, last_sequence: u64, reserved: u64) -> Self {
        Self { number, last_sequence, reserved: reserved.max(RESERVED_AT_ONCE), plain_through: 0 }
    }

    /// The sequence number that was given out last.
    pub fn last_sequence(&self) -> u64 {
        self.last_sequence
    }

    /// The place that the next message will have.
    pub fn next(&self, is_stored: bool) -> Place {
        Place::new(self.next_sequence(), is_stored)
    }

    fn next_sequence(&self) -> u64 {
        let next = self.last_sequence + 1;
        // Of a place only 31 bits are known, and 0 is none.
        if next & u64::from(SEQUENCE_MASK) == 0 { next + 1 } else { next }
    }

    /// Gives out that place; its sequence number.
    pub fn take(&mut self) -> u64 {
        self.last_sequence = self.next_sequence();
        self.plain_through = 0;
        self.last_sequence
    }

    /// The number that was given out last went to the window, so that those that follow it there are plain: the next packet id of the
    /// window is the one that belongs to the next number, as in a session that is not kept.
    pub fn follow_in_window(&mut self) {
        let before_reserving = self.reserved - RESERVED_AT_ONCE / 2 - 1;
        self.plain_through = before_reserving.min(self.last_sequence | u64::from(SEQUENCE_MASK));
    }

    /// Gives out the next number to a message that goes to the window at once, if that is plain: one that is not stored needs no place.
    #[inline]
    pub fn take_plainly(&mut self) -> bool {
        if self.last_sequence >= self.plain_through {
            return false;
        }
        self.last_sequence += 1;
        true
    }

    /// How far the store must be told that they may be given out, if it must be told now.
    pub fn reserve(&mut self) -> Option<u64> {
        if self.last_sequence + RESERVED_AT_ONCE / 2 < self.reserved {
            return None;
        }
        self.reserved = self.last_sequence + RESERVED_AT_ONCE;
        Some(self.reserved)
    }

    /// The sequence number of a place that was given out and is still in use.
    pub fn sequence_of(&self, place: Place) -> u64 {
        let behind = (self.last_sequence as u32).wrapping_sub(place.0) & SEQUENCE_MASK;
        self.last_sequence - u64::from(behind)
    }

    /// The place of a sequence number.
    pub fn place_of(sequence: u64, is_stored: bool) -> Place {
        Place::new(sequence, is_stored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Also where the circle of packet ids, and that of places, begin anew.
    #[test]
    fn a_place_stands_for_its_sequence_number() {
        for start in [0, 65_530, (1 << 31) - 3, (1 << 40) - 3, u64::from(u32::MAX) - 2] {
            let mut kept = Kept::new(1, start, 0);
            let places = (0..10)
                .map(|_| {
                    let place = kept.next(true);
                    (place, kept.take())
                })
                .collect::<Vec<_>>();
            for (place, sequence) in places {
                assert_eq!(kept.sequence_of(place), sequence);
                assert_eq!(Kept::place_of(sequence, true), place);
                assert!(place.is_stored() && !place.is_none() && place.packet_id() > 0);
            }
        }
        assert_eq!(Kept::place_of(65_535, false).packet_id(), 65_535);
        assert_eq!(Kept::place_of(65_536, false).packet_id(), 1);
    }

    /// Until the store must be told, until the circle of places begins anew, and until a message takes a number and waits.
    #[test]
    fn numbers_are_plain_while_nobody_need_look() {
        let begun = |last_sequence| {
            let mut kept = Kept::new(1, last_sequence, last_sequence + RESERVED_AT_ONCE);
            assert!(!kept.take_plainly(), "the window may have another packet id before it");
            kept.take();
            kept.follow_in_window();
            kept
        };
        let mut kept = begun(0);
        while kept.take_plainly() {
            assert_eq!(kept.reserve(), None);
        }
        assert_eq!(kept.take(), RESERVED_AT_ONCE / 2);
        assert_eq!(kept.reserve(), Some(RESERVED_AT_ONCE / 2 + RESERVED_AT_ONCE));
        kept.follow_in_window();
        assert!(kept.take_plainly());
        kept.take();
        assert!(!kept.take_plainly());
        let mut kept = begun((1 << 31) - 3);
        assert!(kept.take_plainly() && !kept.take_plainly());
        assert_eq!((kept.last_sequence(), kept.take()), ((1 << 31) - 1, (1 << 31) + 1));
    }
}
