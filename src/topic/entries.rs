//! The subscribers of one filter.
//!
//! Duty: one value per key, walked as a plain slice, because fan-out to thousands walks it for each message. One entry lies
//! in the node itself (the filters of a million devices have one subscriber each); up to `SORTED_MAX` entries are a sorted
//! vector; more are a vector in any order with an index from key to place, so that the 100,000th subscriber comes and goes in
//! logarithmic time. Must not: promise an order. Neighbours: `trie`.

use std::collections::BTreeMap;

/// Most entries of a sorted vector: moving half of so many costs less than keeping an index.
const SORTED_MAX: usize = 256;

/// Entries below which an indexed vector is sorted again; well below `SORTED_MAX`, so that no client can flip it to and fro.
const INDEXED_MIN: usize = SORTED_MAX / 2;

/// The entries of one node.
#[derive(Debug, Default)]
pub(super) enum Entries<K, V> {
    #[default]
    None,
    One((K, V)),
    Sorted(Vec<(K, V)>),
    Indexed(Box<Indexed<K, V>>),
}

/// Entries in any order, and where each key is.
#[derive(Debug)]
pub(super) struct Indexed<K, V> {
    entries: Vec<(K, V)>,
    places: BTreeMap<K, usize>,
}

impl<K: Ord + Copy, V> Entries<K, V> {
    #[inline]
    pub(super) fn as_slice(&self) -> &[(K, V)] {
        match self {
            Self::None => &[],
            Self::One(entry) => std::slice::from_ref(entry),
            Self::Sorted(entries) => entries,
            Self::Indexed(indexed) => &indexed.entries,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    pub(super) fn get(&self, key: K) -> Option<&V> {
        match self {
            Self::None => None,
            Self::One((own, value)) => (*own == key).then_some(value),
            Self::Sorted(entries) => Some(&entries[find_sorted(entries, key).ok()?].1),
            Self::Indexed(indexed) => Some(&indexed.entries[*indexed.places.get(&key)?].1),
        }
    }

    /// Inserts or replaces; returns the value that was there.
    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self {
            Self::None => {
                *self = Self::One((key, value));
                None
            }
            Self::One((own, old)) if *own == key => Some(std::mem::replace(old, value)),
            Self::One(_) => {
                if let Self::One(first) = std::mem::take(self) {
                    let mut pair = vec![first, (key, value)];
                    pair.sort_unstable_by_key(|entry| entry.0);
                    *self = Self::Sorted(pair);
                }
                None
            }
            Self::Sorted(entries) => match find_sorted(entries, key) {
                Ok(at) => Some(std::mem::replace(&mut entries[at].1, value)),
                Err(at) => {
                    entries.insert(at, (key, value));
                    if entries.len() > SORTED_MAX {
                        *self = Self::Indexed(Box::new(Indexed::new(std::mem::take(entries))));
                    }
                    None
                }
            },
            Self::Indexed(indexed) => indexed.insert(key, value),
        }
    }

    pub(super) fn remove(&mut self, key: K) -> Option<V> {
        let removed = match self {
            Self::None => None,
            Self::One((own, _)) if *own != key => None,
            Self::One(_) => match std::mem::take(self) {
                Self::One((_, value)) => Some(value),
                _ => None,
            },
            Self::Sorted(entries) => {
                let at = find_sorted(entries, key).ok()?;
                Some(entries.remove(at).1)
            }
            Self::Indexed(indexed) => indexed.remove(key),
        };
        self.simplify();
        removed
    }

    /// Takes the simplest shape for so few entries, and gives memory back.
    fn simplify(&mut self) {
        match self {
            Self::Sorted(entries) if entries.len() <= 1 => {
                *self = entries.pop().map_or(Self::None, Self::One);
            }
            Self::Sorted(entries) => shrink(entries),
            Self::Indexed(indexed) if indexed.entries.len() < INDEXED_MIN => {
                let mut entries = std::mem::take(&mut indexed.entries);
                entries.sort_unstable_by_key(|entry| entry.0);
                entries.shrink_to_fit();
                *self = Self::Sorted(entries);
            }
            Self::Indexed(indexed) => shrink(&mut indexed.entries),
            Self::None | Self::One(_) => {}
        }
    }
}

impl<K: Ord + Copy, V> Indexed<K, V> {
    fn new(entries: Vec<(K, V)>) -> Self {
        let places = entries.iter().enumerate().map(|(at, entry)| (entry.0, at)).collect();
        Self { entries, places }
    }

    fn insert(&mut self, key: K, value: V) -> Option<V> {
        let end = self.entries.len();
        let at = *self.places.entry(key).or_insert(end);
        if at < end {
            return Some(std::mem::replace(&mut self.entries[at].1, value));
        }
        self.entries.push((key, value));
        None
    }

    /// The last entry moves into the gap.
    fn remove(&mut self, key: K) -> Option<V> {
        let at = self.places.remove(&key)?;
        let (_, value) = self.entries.swap_remove(at);
        if let Some(moved) = self.entries.get(at) {
            self.places.insert(moved.0, at);
        }
        Some(value)
    }
}

fn find_sorted<K: Ord + Copy, V>(entries: &[(K, V)], key: K) -> Result<usize, usize> {
    entries.binary_search_by_key(&key, |entry| entry.0)
}

/// Halves the room of a vector that uses less than a quarter of it.
fn shrink<T>(entries: &mut Vec<T>) {
    if entries.len() * 4 < entries.capacity() {
        entries.shrink_to(entries.len() * 2);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sorted(entries: &Entries<u32, u32>) -> Vec<(u32, u32)> {
        let mut entries = entries.as_slice().to_vec();
        entries.sort_unstable();
        entries
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Long enough to go through all shapes, up and down.
        #[test]
        fn entries_are_a_map_in_each_of_their_shapes(
            rounds in prop::collection::vec((0_u32..600, 0_u32..600, any::<bool>(), any::<u32>()), 1..12),
        ) {
            let mut entries = Entries::None;
            let mut model = BTreeMap::new();
            for (start, count, insert, value) in rounds {
                for key in (0..count).map(|step| (start + step * 7) % 600) {
                    if insert {
                        prop_assert_eq!(entries.insert(key, value), model.insert(key, value));
                    } else {
                        prop_assert_eq!(entries.remove(key), model.remove(&key));
                    }
                    prop_assert_eq!(entries.get(key), model.get(&key));
                }
                prop_assert_eq!(sorted(&entries), model.iter().map(|(key, value)| (*key, *value)).collect::<Vec<_>>());
                prop_assert_eq!(entries.is_empty(), model.is_empty());
            }
        }
    }

    #[test]
    fn entries_get_an_index_above_256_and_lose_it_below_128() {
        let mut entries = Entries::None;
        assert!((0..256_u32).all(|key| entries.insert(key, key).is_none()));
        assert!(matches!(entries, Entries::Sorted(_)));
        entries.insert(256, 256);
        assert!(matches!(entries, Entries::Indexed(_)));
        assert!((128..257_u32).all(|key| entries.remove(key).is_some()));
        assert!(matches!(entries, Entries::Indexed(_)) && entries.as_slice().len() == 128);
        entries.remove(0);
        assert!(matches!(entries, Entries::Sorted(_)));
    }

    /// R19
    #[test]
    fn a_vector_keeps_its_room_until_it_uses_less_than_a_quarter_and_then_twice_what_it_uses() {
        let mut entries = Vec::with_capacity(64);
        entries.resize(16, 0_u8);
        shrink(&mut entries);
        assert_eq!(entries.capacity(), 64);
        entries.pop();
        shrink(&mut entries);
        assert!((30..64).contains(&entries.capacity()), "{}", entries.capacity());
    }

    #[test]
    fn a_hundred_thousand_subscribers_come_and_go_and_leave_no_memory() {
        let mut entries = Entries::None;
        for key in 0..100_000_u32 {
            assert_eq!(entries.insert(key.reverse_bits(), key), None);
        }
        assert!(matches!(entries, Entries::Indexed(_)));
        for key in 0..99_990_u32 {
            assert_eq!(entries.remove(key.reverse_bits()), Some(key));
        }
        assert!(matches!(&entries, Entries::Sorted(few) if few.len() == 10 && few.capacity() < 100));
        for key in 99_990..100_000_u32 {
            assert_eq!(entries.remove(key.reverse_bits()), Some(key));
        }
        assert!(matches!(entries, Entries::None));
    }
}
