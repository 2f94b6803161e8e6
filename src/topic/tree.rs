//! Levels as a tree of nodes in one array: what both tries stand on.
//!
//! Duty: find, add and prune nodes; give memory back. Nodes refer to each other by index, so nothing is boxed, nothing is
//! dropped recursively, and depth costs no stack. The children of a node are found by one keyed hash table for the whole tree
//! (`child_table`) and listed by sibling links; `+` and `#` have links of their own, because each match asks for them at each
//! node. Must not: know what a node carries, or what matches what. Neighbours: `trie`, `retained`.

use std::hash::{BuildHasher, Hasher};

use ahash::RandomState;

use super::child_table::{ChildTable, NONE};
use super::level_text::{LevelText, split_level};

/// The node of no level, above all first levels. It is never freed.
pub(super) const ROOT: u32 = 0;

/// Nodes below which an array with many free nodes is not worth rebuilding.
const COMPACT_NODES_MIN: usize = 16;

/// One level of one or more filters or names. A node without a parent is free, but for the root, and `next` is the next free one.
#[derive(Debug)]
struct Node<P> {
    parent: u32,
    /// The first child that is no wildcard; children are a doubly linked list.
    first: u32,
    next: u32,
    previous: u32,
    plus: u32,
    hash: u32,
    level: LevelText,
    payload: P,
}

impl<P: Default> Node<P> {
    fn new(parent: u32, level: LevelText) -> Self {
        Self { parent, first: NONE, next: NONE, previous: NONE, plus: NONE, hash: NONE, level, payload: P::default() }
    }
}

/// The keyed hash of a level's text, made once per level and mixed with each parent that is asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct LevelHash(u64);

impl LevelHash {
    /// The hash of the child of `parent` at this level. Multiplying spreads the ids of parents, which are small and dense;
    /// the secret is in the level's hash.
    fn below(self, parent: u32) -> u32 {
        let mixed = (self.0 ^ u64::from(parent)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (mixed >> 32) as u32
    }
}

/// A tree of levels; each node carries a `P`, and is kept while it has children or its `P` is not empty.
#[derive(Debug)]
pub(super) struct LevelTree<P> {
    nodes: Vec<Node<P>>,
    /// Head of the list of free nodes.
    free: u32,
    free_count: usize,
    /// Times that the array was rebuilt.
    compactions: u32,
    table: ChildTable,
    hashing: RandomState,
}

impl<P: Default> LevelTree<P> {
    /// An empty tree. The seed must be secret and random: clients choose the keys.
    pub(super) fn new(hash_seed: u64) -> Self {
        let hashing = RandomState::with_seeds(
            hash_seed,
            hash_seed.rotate_left(16) ^ 0x5851_F42D_4C95_7F2D,
            hash_seed.rotate_left(32) ^ 0x1405_7B7E_F767_814F,
            hash_seed.rotate_left(48) ^ 0xD134_2543_DE82_EF95,
        );
        let nodes = vec![Node::new(NONE, LevelText::EMPTY)];
        Self { nodes, free: NONE, free_count: 0, compactions: 0, table: ChildTable::new(), hashing }
    }

    /// Live nodes, the root not counted.
    pub(super) fn nodes(&self) -> usize {
        self.nodes.len() - self.free_count - 1
    }

    /// How often every index has changed.
    pub(super) fn compactions(&self) -> u32 {
        self.compactions
    }

    /// One more than the highest index of a node.
    pub(super) fn index_end(&self) -> u32 {
        // More nodes than `add` allows cannot exist.
        self.nodes.len() as u32
    }

    #[inline]
    pub(super) fn payload(&self, node: u32) -> &P {
        &self.nodes[node as usize].payload
    }

    pub(super) fn payload_mut(&mut self, node: u32) -> &mut P {
        &mut self.nodes[node as usize].payload
    }

    pub(super) fn parent(&self, node: u32) -> Option<u32> {
        some(self.nodes[node as usize].parent)
    }

    #[inline]
    pub(super) fn plus_child(&self, node: u32) -> Option<u32> {
        some(self.nodes[node as usize].plus)
    }

    #[inline]
    pub(super) fn hash_child(&self, node: u32) -> Option<u32> {
        some(self.nodes[node as usize].hash)
    }

    /// The first child that is no wildcard; the order of children means nothing.
    pub(super) fn first_child(&self, node: u32) -> Option<u32> {
        some(self.nodes[node as usize].first)
    }

    pub(super) fn next_sibling(&self, node: u32) -> Option<u32> {
        some(self.nodes[node as usize].next)
    }

    pub(super) fn level(&self, node: u32) -> &[u8] {
        self.nodes[node as usize].level.as_bytes()
    }

    #[inline]
    pub(super) fn level_hash(&self, level: &[u8]) -> LevelHash {
        let mut hasher = self.hashing.build_hasher();
        hasher.write(level);
        LevelHash(hasher.finish())
    }

    /// The child with exactly this text, no wildcard.
    #[inline]
    pub(super) fn exact_child(&self, parent: u32, level: &[u8], hash: LevelHash) -> Option<u32> {
        self.table.find(hash.below(parent), |node| {
            let node = &self.nodes[node as usize];
            node.parent == parent && node.level.as_bytes() == level
        })
    }

    /// The node at the end of the text's levels, wildcards taken as themselves.
    pub(super) fn find(&self, text: &[u8]) -> Option<u32> {
        let mut node = ROOT;
        let mut rest = Some(text);
        while let Some(text) = rest {
            let (level, after) = split_level(text);
            node = self.child(node, level)?;
            rest = after;
        }
        Some(node)
    }

    /// The node at the end of the text's levels; those that are missing are added.
    pub(super) fn find_or_add(&mut self, text: &[u8]) -> u32 {
        let mut node = ROOT;
        let mut rest = Some(text);
        while let Some(text) = rest {
            let (level, after) = split_level(text);
            node = match self.child(node, level) {
                Some(child) => child,
                None => self.add(node, level),
            };
            rest = after;
        }
        node
    }

    /// Frees the node if it carries nothing and has no children, then its parent likewise, and so on up.
    pub(super) fn prune(&mut self, mut node: u32, is_empty: impl Fn(&P) -> bool) {
        while node != ROOT && self.is_childless(node) && is_empty(self.payload(node)) {
            let parent = self.nodes[node as usize].parent;
            self.unlink(node);
            self.free(node);
            node = parent;
        }
    }

    /// Rebuilds the array if three of four nodes are free. Costs time linear in the array, paid for by the removals that
    /// came before; every index changes.
    pub(super) fn give_back(&mut self) {
        if self.nodes.len() >= COMPACT_NODES_MIN && self.free_count * 4 > self.nodes.len() * 3 {
            self.compact();
            self.compactions = self.compactions.wrapping_add(1);
        }
    }

    fn child(&self, parent: u32, level: &[u8]) -> Option<u32> {
        match level {
            b"+" => self.plus_child(parent),
            b"#" => self.hash_child(parent),
            _ => self.exact_child(parent, level, self.level_hash(level)),
        }
    }

    fn is_childless(&self, node: u32) -> bool {
        let node = &self.nodes[node as usize];
        node.first == NONE && node.plus == NONE && node.hash == NONE
    }

    fn add(&mut self, parent: u32, level: &[u8]) -> u32 {
        let child = self.allocate(Node::new(parent, LevelText::new(level)));
        match level {
            b"+" => self.nodes[parent as usize].plus = child,
            b"#" => self.nodes[parent as usize].hash = child,
            _ => {
                self.table.insert(self.level_hash(level).below(parent), child);
                let next = std::mem::replace(&mut self.nodes[parent as usize].first, child);
                self.nodes[child as usize].next = next;
                if next != NONE {
                    self.nodes[next as usize].previous = child;
                }
            }
        }
        child
    }

    fn allocate(&mut self, node: Node<P>) -> u32 {
        if self.free != NONE {
            let index = self.free;
            self.free = self.nodes[index as usize].next;
            self.free_count -= 1;
            self.nodes[index as usize] = node;
            return index;
        }
        // A node takes 48 bytes and more, so that 2^32 - 1 of them would take 192 GiB: memory ends before the indices.
        let index = u32::try_from(self.nodes.len()).ok().filter(|&index| index != NONE);
        let index = index.expect("fewer than 2^32 - 1 nodes fit into memory");
        self.nodes.push(node);
        index
    }

    fn unlink(&mut self, node: u32) {
        let Node { parent, next, previous, .. } = self.nodes[node as usize];
        let above = &mut self.nodes[parent as usize];
        if above.plus == node {
            above.plus = NONE;
        } else if above.hash == node {
            above.hash = NONE;
        } else {
            if above.first == node {
                above.first = next;
            } else {
                self.nodes[previous as usize].next = next;
            }
            if next != NONE {
                self.nodes[next as usize].previous = previous;
            }
            let hash = self.level_hash(self.level(node)).below(parent);
            self.table.remove(hash, node);
        }
    }

    fn free(&mut self, node: u32) {
        let freed = &mut self.nodes[node as usize];
        *freed = Node::new(NONE, LevelText::EMPTY);
        freed.next = self.free;
        self.free = node;
        self.free_count += 1;
    }

    fn compact(&mut self) {
        let mut renamed = vec![NONE; self.nodes.len()];
        let mut live = 0;
        let is_live = |(index, node): (usize, &Node<P>)| index == ROOT as usize || node.parent != NONE;
        for (renamed, place) in renamed.iter_mut().zip(self.nodes.iter().enumerate()) {
            if is_live(place) {
                *renamed = live;
                live += 1;
            }
        }
        let rename = |index: u32| if index == NONE { NONE } else { renamed[index as usize] };
        let mut nodes = Vec::with_capacity(live as usize);
        for (index, mut node) in std::mem::take(&mut self.nodes).into_iter().enumerate() {
            if renamed[index] == NONE {
                continue;
            }
            for link in
                [&mut node.parent, &mut node.first, &mut node.next, &mut node.previous, &mut node.plus, &mut node.hash]
            {
                *link = rename(*link);
            }
            nodes.push(node);
        }
        self.nodes = nodes;
        self.free = NONE;
        self.free_count = 0;
        self.rebuild_table();
    }

    /// Hashes every node again, because the hash of a child takes in the index of its parent.
    fn rebuild_table(&mut self) {
        let mut table = ChildTable::new();
        for index in 1..self.index_end() {
            let level = self.level(index);
            if level != b"+" && level != b"#" {
                table.insert(self.level_hash(level).below(self.nodes[index as usize].parent), index);
            }
        }
        self.table = table;
    }
}

fn some(index: u32) -> Option<u32> {
    (index != NONE).then_some(index)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    type Marks = LevelTree<Option<u32>>;

    fn set(tree: &mut Marks, text: &str, mark: u32) {
        let node = tree.find_or_add(text.as_bytes());
        *tree.payload_mut(node) = Some(mark);
    }

    fn clear(tree: &mut Marks, text: &str) {
        let node = tree.find(text.as_bytes()).unwrap();
        *tree.payload_mut(node) = None;
        tree.prune(node, Option::is_none);
        tree.give_back();
    }

    /// What there is most of where millions of messages are retained: with a value of two words, as theirs is.
    #[test]
    fn a_node_takes_one_cache_line() {
        assert_eq!(size_of::<Node<[u64; 2]>>(), 64);
    }

    /// R11
    #[test]
    fn the_same_level_has_another_hash_under_another_seed_and_below_another_parent() {
        let (one, two) = (Marks::new(1), Marks::new(2));
        assert_ne!(one.level_hash(b"a").below(ROOT), two.level_hash(b"a").below(ROOT));
        assert_ne!(one.level_hash(b"a").below(ROOT), one.level_hash(b"a").below(1));
        assert_eq!(one.level_hash(b"a").below(ROOT), Marks::new(1).level_hash(b"a").below(ROOT));
    }

    /// R11: one level below very many parents (`+/status` of each device) makes no run of equal hashes.
    #[test]
    fn a_level_has_nearly_as_many_hashes_as_parents() {
        let level = Marks::new(1).level_hash(b"status");
        let hashes: BTreeSet<u32> = (0..10_000).map(|parent| level.below(parent)).collect();
        assert!(hashes.len() > 9_900, "{}", hashes.len());
    }

    #[test]
    fn levels_that_share_a_hash_are_different_nodes() {
        let mut tree = Marks::new(1);
        let mut texts = BTreeMap::new();
        let same = (0..400_000).find_map(|mark| {
            let text = format!("{mark}");
            let hash = tree.level_hash(text.as_bytes()).below(ROOT);
            Some((texts.insert(hash, text.clone())?, text))
        });
        let (one, two) = same.expect("so many texts have two of the same 32 bits");
        set(&mut tree, &one, 1);
        assert_eq!(tree.find(two.as_bytes()), None);
        set(&mut tree, &two, 2);
        let marks = [&one, &two].map(|text| tree.find(text.as_bytes()).and_then(|node| *tree.payload(node)));
        assert_eq!(marks, [Some(1), Some(2)]);
    }

    #[test]
    fn a_node_stays_while_it_carries_something_or_has_children() {
        let mut tree = Marks::new(1);
        set(&mut tree, "a/b", 1);
        set(&mut tree, "a/b/+/#", 2);
        clear(&mut tree, "a/b");
        assert_eq!(tree.nodes(), 4);
        clear(&mut tree, "a/b/+/#");
        assert_eq!(tree.nodes(), 0);
        assert_eq!(tree.find(b"a"), None);
    }

    /// R19
    #[test]
    fn a_rebuilt_tree_finds_every_node_that_was_left() {
        let mut tree = Marks::new(1);
        let text = |mark: u32| format!("level {}/+/{mark}/a level that is longer than a node holds/#", mark % 10);
        (0..2000).for_each(|mark| set(&mut tree, &text(mark), mark));
        let before = tree.index_end();
        (0..2000).filter(|mark| mark % 100 != 3).for_each(|mark| clear(&mut tree, &text(mark)));
        assert!(tree.index_end() < before / 20, "{} of {before}", tree.index_end());
        for mark in 0..2000 {
            let found = tree.find(text(mark).as_bytes()).and_then(|node| *tree.payload(node));
            assert_eq!(found, (mark % 100 == 3).then_some(mark));
        }
        (0..2000).filter(|mark| mark % 100 == 3).for_each(|mark| clear(&mut tree, &text(mark)));
        assert_eq!(tree.nodes(), 0);
        assert!(tree.nodes.capacity() < 2 * COMPACT_NODES_MIN);
    }

    /// R19: no removal pays for a rebuild that gives little back.
    #[test]
    fn a_tree_is_rebuilt_when_more_than_three_of_four_nodes_are_free() {
        let mut tree = Marks::new(1);
        (0..99).for_each(|mark| set(&mut tree, &format!("{mark}"), mark));
        (0..75).for_each(|mark| clear(&mut tree, &format!("{mark}")));
        assert_eq!((tree.index_end(), tree.nodes()), (100, 24));
        clear(&mut tree, "75");
        assert_eq!((tree.index_end(), tree.nodes()), (24, 23));
    }

    #[test]
    fn a_small_tree_is_not_rebuilt_and_its_nodes_are_taken_again() {
        let mut tree = Marks::new(1);
        for round in 0..3 {
            (0..13).for_each(|mark| set(&mut tree, &format!("{round}/{mark}"), mark));
            (0..13).for_each(|mark| clear(&mut tree, &format!("{round}/{mark}")));
            assert_eq!((tree.index_end(), tree.nodes()), (15, 0));
        }
        (0..14).for_each(|mark| set(&mut tree, &format!("a/{mark}"), mark));
        assert_eq!(tree.index_end(), 16);
        (0..14).for_each(|mark| clear(&mut tree, &format!("a/{mark}")));
        assert!(tree.index_end() < 16);
    }

    #[test]
    fn a_wildcard_is_no_exact_child_before_and_after_a_rebuild() {
        let mut tree = Marks::new(1);
        (0..100).for_each(|mark| set(&mut tree, &format!("{mark}"), mark));
        ["+", "#"].iter().for_each(|wildcard| set(&mut tree, wildcard, 1));
        for rebuild in [false, true] {
            if rebuild {
                (0..100).for_each(|mark| clear(&mut tree, &format!("{mark}")));
                assert!(tree.index_end() < 30);
            }
            for wildcard in [b"+", b"#"] {
                assert_eq!(tree.exact_child(ROOT, wildcard, tree.level_hash(wildcard)), None);
                assert!(tree.find(wildcard).is_some());
            }
        }
    }

    /// R19
    #[test]
    fn churn_of_ever_new_texts_takes_no_more_room_than_what_is_live() {
        let mut tree = Marks::new(1);
        for mark in 0..20_000_u32 {
            set(&mut tree, &format!("churn/{mark}"), mark);
            if let Some(old) = mark.checked_sub(100) {
                clear(&mut tree, &format!("churn/{old}"));
            }
        }
        assert_eq!(tree.nodes(), 101);
        assert!(tree.index_end() <= 103);
    }
}
