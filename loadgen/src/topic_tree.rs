//! All topic names of a run as a tree of levels, so that the topics of a filter are found without asking every topic.
//! Must not know subscribers. Neighbours: `plan` asks it; `filter::matches` is what it must agree with.

use std::collections::BTreeMap;

/// Topic names by level; each carries its number.
#[derive(Debug)]
pub struct TopicTree<'t> {
    nodes: Vec<Node<'t>>,
}

#[derive(Debug, Default)]
struct Node<'t> {
    children: BTreeMap<&'t str, usize>,
    /// Numbers of the topics that end here: several publishers may use one name.
    topics: Vec<u32>,
}

impl<'t> TopicTree<'t> {
    /// A tree of `topics`, numbered from 0.
    pub fn new(topics: &'t [String]) -> Self {
        let mut nodes = vec![Node::default()];
        for (number, topic) in (0..).zip(topics) {
            let mut at = 0;
            for level in topic.split('/') {
                let next = nodes.len();
                let child = *nodes[at].children.entry(level).or_insert(next);
                if child == next {
                    nodes.push(Node::default());
                }
                at = child;
            }
            nodes[at].topics.push(number);
        }
        Self { nodes }
    }

    /// Numbers of the topics that match `filter`, ascending; the filter is valid and without a share name.
    pub fn matching(&self, filter: &str) -> Vec<u32> {
        // The nodes that the levels read so far lead to.
        let mut reached = vec![0];
        let mut found = Vec::new();
        for (depth, level) in filter.split('/').enumerate() {
            match level {
                "#" => {
                    found.extend(self.below(&reached, depth));
                    reached.clear();
                }
                "+" => reached = reached.iter().flat_map(|&at| self.children(at, depth)).collect(),
                level => {
                    reached = reached.iter().filter_map(|&at| self.nodes[at].children.get(level)).copied().collect()
                }
            }
        }
        found.extend(reached);
        let mut topics: Vec<u32> = found.iter().flat_map(|&at| &self.nodes[at].topics).copied().collect();
        topics.sort_unstable();
        topics
    }

    /// Nodes one level further; a wildcard in the first level passes names that start with $ over [MQTT-4.7.2-1].
    fn children(&self, at: usize, depth: usize) -> impl Iterator<Item = usize> {
        let seen = move |name: &str| depth > 0 || !name.starts_with('$');
        self.nodes[at].children.iter().filter(move |(name, _)| seen(name)).map(|(_, &child)| child)
    }

    /// `tops` and all nodes under them: # stands for its parent level too [MQTT-4.7.1-2].
    fn below(&self, tops: &[usize], depth: usize) -> Vec<usize> {
        let mut all = tops.to_vec();
        let mut at = 0;
        while at < all.len() {
            let depth = if at < tops.len() { depth } else { depth + 1 };
            all.extend(self.children(all[at], depth));
            at += 1;
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::filter;

    fn names() -> impl Strategy<Value = String> {
        proptest::collection::vec(prop_oneof!["a", "b", "", "[$]s"], 1..4).prop_map(|levels| levels.join("/"))
    }

    fn filters() -> impl Strategy<Value = String> {
        let level = prop_oneof!["a", "b", "", "[$]s", Just("+".to_owned())];
        (proptest::collection::vec(level, 0..4), any::<bool>()).prop_map(|(mut levels, tail)| {
            if tail || levels.is_empty() {
                levels.push("#".to_owned());
            }
            levels.join("/")
        })
    }

    proptest! {
        /// Section 4.7: the tree is a shortcut and nothing else.
        #[test]
        fn the_tree_finds_what_matching_one_by_one_finds(
            topics in proptest::collection::vec(names(), 0..30), filter in filters(),
        ) {
            let expected: Vec<u32> = (0..).zip(&topics)
                .filter(|(_, topic)| filter::matches(&filter, topic)).map(|(number, _)| number).collect();
            prop_assert_eq!(TopicTree::new(&topics).matching(&filter), expected);
        }
    }
}
