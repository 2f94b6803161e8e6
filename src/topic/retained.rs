//! What is kept for this filter? Values by topic name, looked up by filter.
//!
//! Duty: keep one value per name, and visit those whose name a filter matches, without recursion. Must not: know messages,
//! expiry or limits (`shard` does). Neighbours: `tree` holds the nodes.

use std::ops::ControlFlow;

use super::filter::TopicFilter;
use super::level_text::split_level;
use super::name::TopicName;
use super::tree::{LevelTree, ROOT};
use super::trie::MatchCost;

/// Values by topic name.
#[derive(Debug)]
pub struct RetainedTrie<V> {
    tree: LevelTree<Option<V>>,
    len: usize,
}

/// A place among the values, for a search that goes on later. It holds until memory is given back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    node: u32,
    compactions: u32,
}

impl Place {
    /// The place as a number, for who keeps it outside.
    #[must_use]
    pub fn to_bits(self) -> u64 {
        u64::from(self.compactions) << 32 | u64::from(self.node)
    }

    /// The place of such a number. One that is made up is some place, or the end.
    #[must_use]
    pub fn from_bits(bits: u64) -> Self {
        Self { node: bits as u32, compactions: (bits >> 32) as u32 }
    }

    /// Whether a search that goes on from `from` does not come by here any more.
    #[must_use]
    pub fn is_before(self, from: Self) -> bool {
        self.compactions == from.compactions && self.node < from.node
    }
}

/// A node that a walk has yet to look at, with the part of the filter that stands below it.
struct Pending<'f> {
    node: u32,
    rest: Option<&'f [u8]>,
    /// The siblings after it are pending too. They are not pushed all at once, so that the list is never longer than the
    /// filter is deep.
    with_siblings: bool,
}

impl<V> RetainedTrie<V> {
    /// An empty trie. The seed must be random and secret, because clients choose the texts that are hashed.
    #[must_use]
    pub fn new(hash_seed: u64) -> Self {
        Self { tree: LevelTree::new(hash_seed), len: 0 }
    }

    /// Inserts or replaces; returns the value that was there.
    pub fn insert(&mut self, topic: TopicName<'_>, value: V) -> Option<V> {
        self.insert_unless(topic, value, |_| false).unwrap_or_else(Some)
    }

    /// Inserts, or replaces a value that need not be kept, which it returns.
    ///
    /// # Errors
    /// The new value, if the one that is there is kept.
    pub fn insert_unless(
        &mut self,
        topic: TopicName<'_>,
        value: V,
        is_kept: impl FnOnce(&V) -> bool,
    ) -> Result<Option<V>, V> {
        let node = self.tree.find_or_add(topic.as_str().as_bytes());
        let place = self.tree.payload_mut(node);
        if place.as_ref().is_some_and(is_kept) {
            return Err(value);
        }
        let replaced = place.replace(value);
        self.len += usize::from(replaced.is_none());
        Ok(replaced)
    }

    /// Removes and returns the value of the name; memory goes back as in [`super::SubscriptionTrie::remove`].
    pub fn remove(&mut self, topic: TopicName<'_>) -> Option<V> {
        let node = self.tree.find(topic.as_str().as_bytes())?;
        let removed = self.take(node)?;
        self.tree.give_back();
        Some(removed)
    }

    /// The value of exactly this name.
    #[must_use]
    pub fn get(&self, topic: TopicName<'_>) -> Option<&V> {
        self.tree.payload(self.tree.find(topic.as_str().as_bytes())?).as_ref()
    }

    /// The value of exactly this name, to change it in place.
    pub fn get_mut(&mut self, topic: TopicName<'_>) -> Option<&mut V> {
        let node = self.tree.find(topic.as_str().as_bytes())?;
        self.tree.payload_mut(node).as_mut()
    }

    /// Visits each value whose name the filter matches, in no promised order, until the visitor breaks. The work is bounded
    /// by the nodes of the trie, the room by the levels of the filter.
    pub fn for_each_match<'t>(
        &'t self,
        filter: TopicFilter<'_>,
        visit: impl FnMut(&'t V) -> ControlFlow<()>,
    ) -> MatchCost {
        self.for_each_match_within(filter, usize::MAX, visit)
    }

    /// As [`Self::for_each_match`], but gives up, and says so, when more than `nodes_max` nodes would be reached.
    pub fn for_each_match_within<'t>(
        &'t self,
        filter: TopicFilter<'_>,
        nodes_max: usize,
        mut visit: impl FnMut(&'t V) -> ControlFlow<()>,
    ) -> MatchCost {
        let mut cost = MatchCost::default();
        let mut pending = vec![Pending { node: ROOT, rest: Some(filter.as_str().as_bytes()), with_siblings: false }];
        while let Some(Pending { node, rest, with_siblings }) = pending.pop() {
            if cost.nodes >= nodes_max {
                cost.is_cut = true;
                break;
            }
            cost.nodes += 1;
            if with_siblings && let Some(next) = self.tree.next_sibling(node) {
                pending.push(Pending { node: next, rest, with_siblings });
            }
            if with_siblings && self.is_hidden(node) {
                continue;
            }
            let flow = match rest {
                None => self.visit(node, &mut visit),
                Some(b"#") => self.visit_below(node, nodes_max, &mut cost, &mut visit),
                Some(text) => {
                    pending.extend(self.step(node, text));
                    ControlFlow::Continue(())
                }
            };
            if flow.is_break() {
                break;
            }
        }
        cost
    }

    /// Visits the values of no more than `nodes_max` nodes from a place on, whatever their names, and says where to go on, or
    /// `None` at the end. A value that was there when the search began and still is will have been visited, and more than
    /// once only if memory was given back in between: the search begins anew then.
    pub fn for_each_from<'t>(&'t self, from: Place, nodes_max: usize, mut visit: impl FnMut(&'t V)) -> Option<Place> {
        let compactions = self.tree.compactions();
        let start = if from.compactions == compactions { from.node } else { 0 };
        let nodes_max = u32::try_from(nodes_max).unwrap_or(u32::MAX);
        let end = start.saturating_add(nodes_max).min(self.tree.index_end());
        (start..end).filter_map(|node| self.tree.payload(node).as_ref()).for_each(&mut visit);
        (end < self.tree.index_end()).then_some(Place { node: end, compactions })
    }

    /// Where the value of exactly this name is.
    #[must_use]
    pub fn place(&self, topic: TopicName<'_>) -> Option<Place> {
        let node = self.tree.find(topic.as_str().as_bytes())?;
        self.tree.payload(node).as_ref()?;
        Some(Place { node, compactions: self.tree.compactions() })
    }

    /// Keeps the values that `keep` accepts. Time is linear in the trie; [`Self::retain_some`] does it in pieces.
    pub fn retain(&mut self, mut keep: impl FnMut(&mut V) -> bool) {
        let mut from = Some(0);
        while let Some(start) = from {
            from = self.retain_some(start, u32::MAX, &mut keep);
        }
    }

    /// Looks at no more than `nodes_max` nodes from `from` on (0 to begin) and keeps the values that `keep` accepts. Returns
    /// where to go on, or `None` at the end. A value that is inserted, or moved by the giving back of memory, between two
    /// calls may be passed over until the next round.
    pub fn retain_some(&mut self, from: u32, nodes_max: u32, mut keep: impl FnMut(&mut V) -> bool) -> Option<u32> {
        let end = from.saturating_add(nodes_max).min(self.tree.index_end());
        for node in from..end {
            if self.tree.payload_mut(node).as_mut().is_some_and(|value| !keep(value)) {
                self.take(node);
            }
        }
        if end < self.tree.index_end() {
            return Some(end);
        }
        self.tree.give_back();
        None
    }

    /// Values.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Nodes, the bound of a match's work: the distinct beginnings of the names, cut at slashes.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.tree.nodes()
    }

    fn take(&mut self, node: u32) -> Option<V> {
        let taken = self.tree.payload_mut(node).take()?;
        self.tree.prune(node, Option::is_none);
        self.len -= 1;
        Some(taken)
    }

    /// What is next below `node` for the first level of `text`.
    fn step<'f>(&self, node: u32, text: &'f [u8]) -> Option<Pending<'f>> {
        let (level, rest) = split_level(text);
        if level == b"+" {
            return Some(Pending { node: self.tree.first_child(node)?, rest, with_siblings: true });
        }
        let child = self.tree.exact_child(node, level, self.tree.level_hash(level))?;
        Some(Pending { node: child, rest, with_siblings: false })
    }

    /// Whether a wildcard that stands for this node's level must not see it [MQTT-4.7.2-1].
    fn is_hidden(&self, node: u32) -> bool {
        self.tree.parent(node) == Some(ROOT) && self.tree.level(node).first() == Some(&b'$')
    }

    fn visit<'t>(&'t self, node: u32, visit: &mut impl FnMut(&'t V) -> ControlFlow<()>) -> ControlFlow<()> {
        self.tree.payload(node).as_ref().map_or(ControlFlow::Continue(()), visit)
    }

    /// Visits `top` itself, because `a/#` matches `a` (section 4.7.1.2), and all below it, children before siblings.
    fn visit_below<'t>(
        &'t self,
        top: u32,
        nodes_max: usize,
        cost: &mut MatchCost,
        visit: &mut impl FnMut(&'t V) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let mut at = Some(top);
        while let Some(node) = at {
            if cost.nodes >= nodes_max {
                cost.is_cut = true;
                return ControlFlow::Break(());
            }
            cost.nodes += 1;
            let hidden = top == ROOT && self.is_hidden(node);
            if hidden {
                at = self.next_after(node, top);
                continue;
            }
            self.visit(node, visit)?;
            at = self.tree.first_child(node).or_else(|| self.next_after(node, top));
        }
        ControlFlow::Continue(())
    }

    /// The next sibling of the node or of the nearest ancestor that has one, without leaving what is below `top`.
    fn next_after(&self, mut node: u32, top: u32) -> Option<u32> {
        while node != top {
            if let Some(next) = self.tree.next_sibling(node) {
                return Some(next);
            }
            node = self.tree.parent(node)?;
        }
        None
    }
}
