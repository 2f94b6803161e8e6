//! One hash table for the children of all nodes of a tree.
//!
//! Duty: from a keyed hash of (parent, level) to a node. One table for the whole tree, because a map in each node costs more
//! memory than the node. Open addressing with linear steps in one array of 8-byte slots: a look-up touches one cache line of
//! the table and then the node it was after. Removal shifts the followers back, so there are no tombstones and churn leaves
//! no trace. Must not: hash (keys are client-chosen, so `tree` hashes with a secret seed), or know texts. Neighbours: `tree`.

/// No node; the mark of an empty slot and of a missing link.
pub(super) const NONE: u32 = u32::MAX;

/// Slots of an empty table; a power of two.
const SLOTS_MIN: usize = 16;

#[derive(Clone, Copy, Debug)]
struct Slot {
    hash: u32,
    node: u32,
}

const EMPTY: Slot = Slot { hash: 0, node: NONE };

/// Nodes by hash. At most three of four slots are taken.
#[derive(Debug)]
pub(super) struct ChildTable {
    slots: Vec<Slot>,
    taken: usize,
}

impl ChildTable {
    /// A table without nodes.
    pub(super) fn new() -> Self {
        Self { slots: vec![EMPTY; SLOTS_MIN], taken: 0 }
    }

    /// The node with this hash that `is_wanted` accepts; different children may share a hash.
    #[inline]
    pub(super) fn find(&self, hash: u32, is_wanted: impl Fn(u32) -> bool) -> Option<u32> {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let slot = self.slots[at];
            if slot.node == NONE {
                return None;
            }
            if slot.hash == hash && is_wanted(slot.node) {
                return Some(slot.node);
            }
            at = (at + 1) & mask;
        }
    }

    /// Adds a node that is not in the table.
    pub(super) fn insert(&mut self, hash: u32, node: u32) {
        if (self.taken + 1) * 4 > self.slots.len() * 3 {
            self.resize(self.slots.len() * 2);
        }
        self.place(Slot { hash, node });
        self.taken += 1;
    }

    /// Takes a node out, if it is there. Halves the table when less than an eighth is taken.
    pub(super) fn remove(&mut self, hash: u32, node: u32) {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        while self.slots[at].node != node {
            if self.slots[at].node == NONE {
                return;
            }
            at = (at + 1) & mask;
        }
        self.close_gap(at);
        self.taken -= 1;
        if self.taken * 8 < self.slots.len() && self.slots.len() > SLOTS_MIN {
            self.resize(self.slots.len() / 2);
        }
    }

    /// Moves each follower that may stand in the gap back into it, until an empty slot ends the run.
    fn close_gap(&mut self, mut gap: usize) {
        let mask = self.slots.len() - 1;
        let mut at = gap;
        loop {
            at = (at + 1) & mask;
            if self.slots[at].node == NONE {
                break;
            }
            let home = self.slots[at].hash as usize & mask;
            let steps_from_home = at.wrapping_sub(home) & mask;
            let steps_from_gap = at.wrapping_sub(gap) & mask;
            if steps_from_home >= steps_from_gap {
                self.slots[gap] = self.slots[at];
                gap = at;
            }
        }
        self.slots[gap] = EMPTY;
    }

    fn resize(&mut self, slots: usize) {
        let old = std::mem::replace(&mut self.slots, vec![EMPTY; slots]);
        for slot in old {
            if slot.node != NONE {
                self.place(slot);
            }
        }
    }

    /// Puts a slot into the first empty place; there is one, because a quarter is always empty.
    fn place(&mut self, slot: Slot) {
        let mask = self.slots.len() - 1;
        let mut at = slot.hash as usize & mask;
        while self.slots[at].node != NONE {
            at = (at + 1) & mask;
        }
        self.slots[at] = slot;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Few hashes, among them neighbours and the last slot, make runs that collide, wrap around and close again.
        #[test]
        fn a_table_finds_what_was_inserted_and_not_removed(
            steps in prop::collection::vec(
                (any::<bool>(), 0_u32..60, prop::sample::select(vec![0_u32, 1, 2, 14, 15, 31, 62, 63, 1 << 31])),
                0..300,
            ),
        ) {
            let mut table = ChildTable::new();
            let mut model = BTreeMap::new();
            for (insert, node, hash) in steps {
                if insert && !model.contains_key(&node) {
                    table.insert(hash, node);
                    model.insert(node, hash);
                } else if !insert && let Some(hash) = model.remove(&node) {
                    table.remove(hash, node);
                }
                for node in 0..60 {
                    let found = model.get(&node).and_then(|&hash| table.find(hash, |found| found == node));
                    prop_assert_eq!(found, model.contains_key(&node).then_some(node));
                }
                prop_assert_eq!(table.taken, model.len());
            }
        }
    }

    /// R19
    #[test]
    fn a_table_shrinks_to_its_first_size_when_all_is_removed() {
        let mut table = ChildTable::new();
        let hash = |node: u32| node.wrapping_mul(0x9E37_79B9);
        (0..10_000).for_each(|node| table.insert(hash(node), node));
        assert!(table.slots.len() <= 32_768);
        (0..10_000).for_each(|node| table.remove(hash(node), node));
        assert_eq!((table.slots.len(), table.taken), (SLOTS_MIN, 0));
    }

    /// R19
    #[test]
    fn a_table_grows_above_three_quarters_and_shrinks_below_an_eighth() {
        let mut table = ChildTable::new();
        (0..12).for_each(|node| table.insert(node, node));
        assert_eq!(table.slots.len(), 16);
        table.insert(12, 12);
        assert_eq!(table.slots.len(), 32);
        (4..13).for_each(|node| table.remove(node, node));
        assert_eq!((table.slots.len(), table.taken), (32, 4));
        table.remove(3, 3);
        assert_eq!(table.slots.len(), 16);
    }

    #[test]
    fn removing_what_is_not_there_changes_nothing() {
        let mut table = ChildTable::new();
        table.insert(5, 1);
        table.remove(5, 2);
        table.remove(6, 1);
        assert_eq!(table.find(5, |_| true), Some(1));
    }
}
