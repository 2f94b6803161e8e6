//! Rights compiled: a trie of filters, each with the lines that allow or deny.
//!
//! Duty: find, in one walk over the levels of a topic, the first line that denies and the first that allows. Must not: know users
//! or files. Neighbours: `acl` builds one for each user and one for the patterns.

use std::collections::HashMap;

use super::acl::Access;

/// Which lines speak about what ends at a node: the lowest number of each kind, from 1; 0 for none.
#[derive(Clone, Copy, Debug, Default)]
struct Lines {
    deny: u32,
    read: u32,
    write: u32,
}

/// What a walk has found: the lowest line that denies, and the lowest that allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) deny: Option<u32>,
    pub(super) allow: Option<u32>,
}

/// What a line gives or takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grant {
    Deny,
    Read,
    Write,
    ReadWrite,
}

/// Who asks, for levels that stand for them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Who<'a> {
    pub(super) client_id: &'a str,
    /// `None`: nothing matches `%u`.
    pub(super) user: Option<&'a str>,
}

#[derive(Debug, Default)]
struct Node {
    children: HashMap<Box<str>, usize>,
    /// `+`
    any: Option<usize>,
    /// `%c`
    client_id: Option<usize>,
    /// `%u`
    user: Option<usize>,
    /// Of filters that end here.
    here: Lines,
    /// Of filters that go on with `#`.
    below: Lines,
}

/// Filters and what is allowed or denied by them.
#[derive(Debug)]
pub(super) struct Rights {
    /// The first is the root.
    nodes: Vec<Node>,
}

impl Default for Rights {
    fn default() -> Self {
        Self { nodes: vec![Node::default()] }
    }
}

impl Lines {
    fn add(&mut self, grant: Grant, line: u32) {
        let first = |known: &mut u32| {
            if *known == 0 || line < *known {
                *known = line;
            }
        };
        match grant {
            Grant::Deny => first(&mut self.deny),
            Grant::Read => first(&mut self.read),
            Grant::Write => first(&mut self.write),
            Grant::ReadWrite => {
                first(&mut self.read);
                first(&mut self.write);
            }
        }
    }
}

impl Found {
    fn note(&mut self, lines: Lines, access: Access) {
        let allow = if access == Access::Publish { lines.write } else { lines.read };
        let first = |known: &mut Option<u32>, line: u32| {
            if line != 0 && known.is_none_or(|known| line < known) {
                *known = Some(line);
            }
        };
        first(&mut self.deny, lines.deny);
        first(&mut self.allow, allow);
    }
}

impl Rights {
    /// Adds a filter. `has_placeholders`: `%c` and `%u` stand for who asks.
    pub(super) fn add(&mut self, filter: &str, has_placeholders: bool, grant: Grant, line: u32) {
        let mut at = 0;
        for level in filter.split('/') {
            if level == "#" {
                return self.nodes[at].below.add(grant, line);
            }
            let next = self.nodes.len();
            let node = &mut self.nodes[at];
            at = match level {
                "+" => *node.any.get_or_insert(next),
                "%c" if has_placeholders => *node.client_id.get_or_insert(next),
                "%u" if has_placeholders => *node.user.get_or_insert(next),
                _ => *node.children.entry(level.into()).or_insert(next),
            };
            if at == next {
                self.nodes.push(Node::default());
            }
        }
        self.nodes[at].here.add(grant, line);
    }

    /// What the filters that match a topic name say.
    pub(super) fn find(&self, topic: &str, who: Who<'_>, access: Access) -> Found {
        let mut found = Found::default();
        // One that begins with `$` is matched only by what begins with `$` itself [MQTT-4.7.2-1].
        let is_dollar = topic.starts_with('$');
        let mut walk: Vec<(usize, Option<&str>)> = vec![(0, Some(topic))];
        while let Some((at, rest)) = walk.pop() {
            let node = &self.nodes[at];
            let is_hidden = is_dollar && at == 0;
            if !is_hidden {
                found.note(node.below, access);
            }
            let Some(rest) = rest else {
                found.note(node.here, access);
                continue;
            };
            let (level, rest) = rest.split_once('/').map_or((rest, None), |(level, rest)| (level, Some(rest)));
            walk.extend(node.children.get(level).map(|&next| (next, rest)));
            if !is_hidden {
                walk.extend(node.any.map(|next| (next, rest)));
                walk.extend(node.client_id.filter(|_| level == who.client_id).map(|next| (next, rest)));
                walk.extend(node.user.filter(|_| Some(level) == who.user).map(|next| (next, rest)));
            }
        }
        found
    }

    /// Whether some topic that may be read is matched by a subscription's filter and by no denial that covers all of that filter.
    pub(super) fn may_meet(&self, filter: &str, who: Who<'_>) -> Meeting {
        let mut meeting = Meeting::default();
        let is_dollar = filter.starts_with('$');
        let starts_wild = filter.starts_with(['+', '#']);
        let mut walk: Vec<(usize, Option<&str>, bool)> = vec![(0, Some(filter), true)];
        while let Some((at, rest, covers)) = walk.pop() {
            let node = &self.nodes[at];
            // A wildcard in the first level does not reach what begins with `$`.
            let is_hidden = is_dollar && at == 0;
            if !is_hidden {
                meeting.may_read |= node.below.read != 0;
                meeting.is_denied |= covers && node.below.deny != 0;
            }
            let (level, rest) = match rest {
                None => {
                    meeting.may_read |= node.here.read != 0;
                    meeting.is_denied |= covers && node.here.deny != 0;
                    continue;
                }
                Some("#") => {
                    meeting.may_read |= self.reads_below(at, starts_wild && at == 0);
                    continue;
                }
                Some(rest) => rest.split_once('/').map_or((rest, None), |(level, rest)| (level, Some(rest))),
            };
            let mut go = |next: Option<usize>, covers| walk.extend(next.map(|next| (next, rest, covers)));
            if level == "+" {
                let is_seen = |text: &str| at > 0 || !text.starts_with('$');
                node.children.iter().filter(|(text, _)| is_seen(text)).for_each(|(_, &next)| go(Some(next), false));
                go(node.client_id, false);
                go(node.user.filter(|_| who.user.is_some()), false);
                go(node.any, covers);
            } else {
                go(node.children.get(level).copied(), covers);
                if !is_hidden {
                    go(node.any, covers);
                    go(node.client_id.filter(|_| level == who.client_id), covers);
                    go(node.user.filter(|_| Some(level) == who.user), covers);
                }
            }
        }
        meeting
    }

    /// Whether anything at a node or below it may be read.
    fn reads_below(&self, at: usize, hides_dollar: bool) -> bool {
        let mut walk = vec![at];
        while let Some(next) = walk.pop() {
            let node = &self.nodes[next];
            if node.here.read != 0 || node.below.read != 0 {
                return true;
            }
            let is_seen = |text: &str| !(hides_dollar && next == at && text.starts_with('$'));
            walk.extend(node.children.iter().filter(|(text, _)| is_seen(text)).map(|(_, &child)| child));
            walk.extend(node.any.into_iter().chain(node.client_id).chain(node.user));
        }
        false
    }
}

/// What a subscription's filter meets among rights.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Meeting {
    /// Some line allows to read something that it matches.
    pub(super) may_read: bool,
    /// Some line denies all that it matches.
    pub(super) is_denied: bool,
}
