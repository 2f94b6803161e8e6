//! The nodes that a walk has reached.
//!
//! Duty: a list that needs no allocation while it is short. Must not: order or merge. Neighbours: `trie`.

/// Nodes kept without an allocation: enough for a topic of ten levels with two or three filters each.
const INLINE_NODES_MAX: usize = 32;

/// A list of nodes that grows while it is walked: in place while it is short, in a vector from then on.
#[derive(Debug)]
pub(super) struct Frontier {
    inline: [u32; INLINE_NODES_MAX],
    len: usize,
    spilled: Vec<u32>,
}

impl Frontier {
    pub(super) fn new() -> Self {
        Self { inline: [0; INLINE_NODES_MAX], len: 0, spilled: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(super) fn push(&mut self, node: u32) {
        match self.inline.get_mut(self.len) {
            Some(place) => *place = node,
            None => self.spill(node),
        }
        self.len += 1;
    }

    /// The node that was pushed at this place.
    #[inline]
    pub(super) fn get(&self, at: usize) -> u32 {
        match self.inline.get(at) {
            Some(&node) => node,
            None => self.spilled[at - INLINE_NODES_MAX],
        }
    }

    #[cold]
    fn spill(&mut self, node: u32) {
        self.spilled.push(node);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frontier_gives_back_what_was_pushed_short_or_long() {
        for len in [0, 1, 31, 32, 33, 100] {
            let mut frontier = Frontier::new();
            (0..len).for_each(|node| frontier.push(node * 7));
            assert_eq!(frontier.len(), len as usize);
            assert!((0..len).all(|node| frontier.get(node as usize) == node * 7));
        }
    }
}
