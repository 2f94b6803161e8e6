//! Who wants this topic? All subscriptions of one shard, by filter.
//!
//! Duty: insert, remove, and visit every entry whose filter matches a name (section 4.7), level by level, without recursion
//! and, while few nodes are reached, without allocation. Must not: know what a subscriber is, or merge overlapping
//! subscriptions of one key (`shard` decides that). Neighbours: `tree` holds the nodes, `entries` the subscribers of a node.

use super::entries::Entries;
use super::filter::TopicFilter;
use super::frontier::Frontier;
use super::level_text::split_level;
use super::name::TopicName;
use super::tree::{LevelTree, ROOT};

/// What a match cost.
///
/// Each level may go on by its text and by `+`, so that a topic of n levels can reach 2^n nodes; but only nodes that exist
/// are reached, each at most once, and a node exists because a subscription needs it. The cost of a match is bounded by
/// [`SubscriptionTrie::nodes`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MatchCost {
    /// Nodes that were reached.
    pub nodes: usize,
    /// Whether the walk was given up because it reached more nodes than it may; what was visited is then not all.
    pub is_cut: bool,
}

/// Subscriptions by topic filter. `K` tells the subscribers of one filter apart: there is one value per filter and key.
#[derive(Debug)]
pub struct SubscriptionTrie<K, V> {
    tree: LevelTree<Entries<K, V>>,
    len: usize,
    generation: u64,
}

impl<K: Ord + Copy, V> SubscriptionTrie<K, V> {
    /// An empty trie. The seed must be random and secret, because clients choose the texts that are hashed.
    #[must_use]
    pub fn new(hash_seed: u64) -> Self {
        Self { tree: LevelTree::new(hash_seed), len: 0, generation: 0 }
    }

    /// Inserts or replaces; returns the value that was there.
    pub fn insert(&mut self, filter: TopicFilter<'_>, key: K, value: V) -> Option<V> {
        let node = self.tree.find_or_add(filter.as_str().as_bytes());
        let replaced = self.tree.payload_mut(node).insert(key, value);
        self.len += usize::from(replaced.is_none());
        self.generation += 1;
        replaced
    }

    /// Removes and returns the value of the filter and key. Nodes that nothing needs any more are freed, and memory is given
    /// back when three quarters of it are free (a pause that is linear in the nodes that were, paid for by their removals).
    pub fn remove(&mut self, filter: TopicFilter<'_>, key: K) -> Option<V> {
        let node = self.tree.find(filter.as_str().as_bytes())?;
        let removed = self.tree.payload_mut(node).remove(key)?;
        self.tree.prune(node, Entries::is_empty);
        self.tree.give_back();
        self.len -= 1;
        self.generation += 1;
        Some(removed)
    }

    /// The value of the filter and key; the filter is taken as a text, nothing is matched.
    #[must_use]
    pub fn get(&self, filter: TopicFilter<'_>, key: K) -> Option<&V> {
        let node = self.tree.find(filter.as_str().as_bytes())?;
        self.tree.payload(node).get(key)
    }

    /// The entries of exactly this filter, in no promised order; nothing is matched.
    #[must_use]
    pub fn entries(&self, filter: TopicFilter<'_>) -> &[(K, V)] {
        let node = self.tree.find(filter.as_str().as_bytes());
        node.map_or(&[], |node| self.tree.payload(node).as_slice())
    }

    /// Visits each (key, value) whose filter matches, in no promised order. A key that subscribed by several matching
    /// filters is visited for each. Gives up, and says so, when more than `nodes_max` nodes are reached, the root among them
    /// and those of `#` not.
    pub fn for_each_match<'t>(
        &'t self,
        topic: TopicName<'_>,
        nodes_max: usize,
        mut visit: impl FnMut(K, &'t V),
    ) -> MatchCost {
        let mut reached = Frontier::new();
        let mut visited_leaves = 0;
        reached.push(ROOT);
        let mut level_start = 0;
        // A wildcard in the first level does not stand for a level that begins with $ [MQTT-4.7.2-1].
        let mut allow_wildcard = !topic.is_dollar();
        let mut rest = Some(topic.as_str().as_bytes());
        while let Some(text) = rest {
            let (level, after) = split_level(text);
            let level_hash = self.tree.level_hash(level);
            let level_end = reached.len();
            for at in level_start..level_end {
                let node = reached.get(at);
                if let Some(exact) = self.tree.exact_child(node, level, level_hash) {
                    reached.push(exact);
                }
                if allow_wildcard {
                    if let Some(plus) = self.tree.plus_child(node) {
                        reached.push(plus);
                    }
                    visited_leaves += self.visit_hash_child(node, &mut visit);
                }
            }
            if reached.len() > nodes_max {
                return MatchCost { nodes: reached.len() - 1 + visited_leaves, is_cut: true };
            }
            level_start = level_end;
            allow_wildcard = true;
            // With nothing reached, no deeper level can reach anything.
            rest = after.filter(|_| reached.len() > level_end);
        }
        for at in level_start..reached.len() {
            let node = reached.get(at);
            self.visit_entries(node, &mut visit);
            // `a/#` matches `a` as well (section 4.7.1.2).
            visited_leaves += self.visit_hash_child(node, &mut visit);
        }
        MatchCost { nodes: reached.len() - 1 + visited_leaves, is_cut: false }
    }

    /// Raised by each insert and each remove that changes what some topic matches; a cached match holds while it stands.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Entries, over all filters.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Nodes, the bound of a match's cost: the distinct beginnings of the filters, cut at slashes.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.tree.nodes()
    }

    /// Visits what ends in `#` below a node; returns how many nodes that are.
    #[inline]
    fn visit_hash_child<'t>(&'t self, node: u32, visit: &mut impl FnMut(K, &'t V)) -> usize {
        let Some(hash) = self.tree.hash_child(node) else { return 0 };
        self.visit_entries(hash, visit);
        1
    }

    #[inline]
    fn visit_entries<'t>(&'t self, node: u32, visit: &mut impl FnMut(K, &'t V)) {
        for (key, value) in self.tree.payload(node).as_slice() {
            visit(*key, value);
        }
    }
}
