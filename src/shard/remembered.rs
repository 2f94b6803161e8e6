//! Answers to "who wants this topic?" that were given before.
//!
//! Duty: keep them by topic and within bounds, each with the moment that it is of; say what was published to which topic. Must not: look
//! anything up, or know what makes an answer old. Neighbours: `matches` asks, and looks up what is not here.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::rc::Rc;

use super::matches::Matches;

/// So many bytes may the answers have for each topic that may be remembered, on average.
const BYTES_PER_TOPIC: usize = 1024;

/// Topics that were asked for once and are known to have been: eight bits each.
const NEWCOMERS_MAX: usize = 16_384;
const NEWCOMER_BITS: usize = NEWCOMERS_MAX * 8;

/// So many answers whose topics are in use are passed over in search of one to forget.
const PASSED_MAX: usize = 8;

/// An answer, to be found by its topic.
#[derive(Debug)]
struct Known(Rc<Matches>);

impl Borrow<[u8]> for Known {
    fn borrow(&self) -> &[u8] {
        self.0.topic.as_bytes()
    }
}

impl Hash for Known {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.topic.as_bytes().hash(state);
    }
}

impl PartialEq for Known {
    fn eq(&self, other: &Self) -> bool {
        self.0.topic == other.0.topic
    }
}

impl Eq for Known {}

/// The same, to be found by those who go through all.
#[derive(Debug)]
struct Row {
    answer: Rc<Matches>,
    /// What was published when somebody last looked for a topic that is not in use.
    published_then: u64,
}

/// The answers.
#[derive(Debug)]
pub(super) struct Remembered {
    /// The row of each.
    known: HashMap<Known, u32, ahash::RandomState>,
    rows: Vec<Option<Row>>,
    free: Vec<u32>,
    /// The row that was looked at last for one to forget.
    hand: usize,
    /// What the answers have together.
    bytes: usize,
    newcomers: Newcomers,
    topics_max: usize,
}

impl Remembered {
    pub(super) fn new(hasher: ahash::RandomState, topics_max: usize) -> Self {
        Self {
            known: HashMap::with_hasher(hasher),
            rows: Vec::new(),
            free: Vec::new(),
            hand: 0,
            bytes: 0,
            newcomers: Newcomers::default(),
            topics_max,
        }
    }

    /// The answer for a topic, if it is of this moment.
    #[inline]
    pub(super) fn get(&self, topic: &[u8], moment: u64) -> Option<&Rc<Matches>> {
        let (Known(answer), _) = self.known.get_key_value(topic)?;
        (answer.moment == moment).then_some(answer)
    }

    /// Remembers an answer if its topic has come before; it takes the place of an older one.
    pub(super) fn note(&mut self, answer: Matches) -> Rc<Matches> {
        let topic = answer.topic.as_bytes();
        let mut place = None;
        if let Some((Known(older), row)) = self.known.remove_entry(topic) {
            answer.note_published(older.published() as usize);
            self.bytes -= older.bytes();
            self.rows[row as usize] = None;
            place = Some(row);
        } else if self.topics_max == 0 || !self.newcomers.has_come_before(self.known.hasher().hash_one(topic)) {
            return Rc::new(answer);
        }
        let bytes = answer.bytes();
        let bytes_max = self.topics_max.saturating_mul(BYTES_PER_TOPIC);
        while !self.known.is_empty() && (self.known.len() >= self.topics_max || self.bytes + bytes > bytes_max) {
            self.forget_one();
        }
        self.bytes += bytes;
        let answer = Rc::new(answer);
        let row = Some(Row { answer: Rc::clone(&answer), published_then: answer.published() });
        let place = place.or_else(|| self.free.pop()).unwrap_or(self.rows.len() as u32);
        match self.rows.get_mut(place as usize) {
            Some(free) => *free = row,
            None => self.rows.push(row),
        }
        self.known.insert(Known(Rc::clone(&answer)), place);
        answer
    }

    /// What was published here to the topics of so many rows, from `first` on, as far as anything was, and where to go on.
    pub(super) fn published(&self, first: usize, rows: usize) -> (Vec<(&str, u64)>, Option<usize>) {
        let end = first.saturating_add(rows).min(self.rows.len());
        let rows = self.rows.get(first..end).unwrap_or_default().iter().flatten();
        let published = rows.map(|row| (&*row.answer.topic, row.answer.published())).filter(|(_, count)| *count > 0);
        (published.collect(), (end < self.rows.len()).then_some(end))
    }

    /// Forgets an answer: the next one to whose topic nothing was published since it was last passed over, if there is one near.
    fn forget_one(&mut self) {
        let mut passed = 0;
        loop {
            self.hand = if self.hand + 1 < self.rows.len() { self.hand + 1 } else { 0 };
            let Some(row) = &mut self.rows[self.hand] else { continue };
            let published = row.answer.published();
            if published == row.published_then || passed == PASSED_MAX {
                break;
            }
            row.published_then = published;
            passed += 1;
        }
        if let Some(row) = self.rows[self.hand].take() {
            self.known.remove(row.answer.topic.as_bytes());
            self.bytes -= row.answer.bytes();
            self.free.push(self.hand as u32);
        }
    }
}

/// Topics that were asked for once: what is never asked for again is not worth remembering, and must not drive out what is.
#[derive(Debug, Default)]
struct Newcomers {
    /// Two bits for each topic, at places that its hash says; none before the first topic.
    marks: Vec<u64>,
    noted: usize,
}

impl Newcomers {
    /// Whether a topic of this hash has come before, perhaps; notes it if not, up to a number after which all begins anew.
    fn has_come_before(&mut self, hash: u64) -> bool {
        if self.noted >= NEWCOMERS_MAX || self.marks.is_empty() {
            self.marks.clear();
            self.marks.resize(NEWCOMER_BITS / 64, 0);
            self.noted = 0;
        }
        let mut is_known = true;
        for part in [hash, hash >> 32] {
            let bit = part as usize % NEWCOMER_BITS;
            let word = &mut self.marks[bit / 64];
            is_known &= *word >> (bit % 64) & 1 == 1;
            *word |= 1 << (bit % 64);
        }
        self.noted += usize::from(!is_known);
        is_known
    }
}

#[cfg(test)]
mod tests {
    use super::super::matches::{Delivery, Own};
    use super::*;
    use crate::session::SubscriptionIds;
    use crate::wire::QoS;

    fn remembered(topics_max: usize) -> Remembered {
        Remembered::new(ahash::RandomState::with_seeds(1, 2, 3, 4), topics_max)
    }

    fn answer(topic: &str, moment: u64) -> Matches {
        let mut answer = Matches::default();
        (answer.topic, answer.moment) = (topic.into(), moment);
        answer
    }

    fn delivery(ids: &[u32], own: Own) -> Delivery {
        let subscription_ids = SubscriptionIds::new(ids);
        Delivery { session: 0, qos: QoS::AtMostOnce, retain_as_published: false, subscription_ids, own }
    }

    impl Remembered {
        fn ask_twice(&mut self, topic: &str) {
            for _ in 0..2 {
                if self.get(topic.as_bytes(), 1).is_none() {
                    self.note(answer(topic, 1));
                }
            }
        }

        fn knows(&self, topic: &str) -> bool {
            self.get(topic.as_bytes(), 1).is_some()
        }
    }

    #[test]
    fn a_topic_is_remembered_when_it_is_asked_for_again() {
        let mut remembered = remembered(16_384);
        remembered.note(answer("a", 1));
        assert!(!remembered.knows("a"), "once is not enough");
        remembered.note(answer("a", 1));
        assert!(remembered.knows("a"));
        for number in 0..20_000 {
            remembered.note(answer(&format!("never again/{number}"), 1));
        }
        assert!(remembered.knows("a") && remembered.known.len() < 2_000, "few are mistaken");
    }

    #[test]
    fn all_topics_that_come_again_are_remembered_as_many_as_there_may_be() {
        let mut remembered = remembered(16_384);
        let topics: Vec<String> = (0..16_000).map(|number| format!("topic/{number}")).collect();
        for topic in topics.iter().chain(&topics) {
            if !remembered.knows(topic) {
                remembered.note(answer(topic, 1));
            }
        }
        assert!(topics.iter().all(|topic| remembered.knows(topic)));
        assert_eq!(remembered.known.len(), 16_000);
    }

    /// An answer of another moment does not hold; the next one is remembered at once, with what was published before.
    #[test]
    fn an_older_answer_does_not_hold_and_leaves_what_it_has_counted() {
        let mut remembered = remembered(4);
        remembered.ask_twice("a");
        remembered.get(b"a", 1).unwrap().note_published(7);
        assert!(remembered.get(b"a", 2).is_none());
        remembered.note(answer("a", 2)).note_published(1);
        assert_eq!(remembered.get(b"a", 2).unwrap().published(), 8);
        assert_eq!((remembered.known.len(), remembered.rows.len(), remembered.bytes), (1, 1, 1));
    }

    #[test]
    fn the_topics_are_bounded_and_those_that_are_published_to_stay() {
        let mut remembered = remembered(4);
        for topic in ["a", "b", "c", "d"] {
            remembered.ask_twice(topic);
        }
        for number in 0..40 {
            remembered.get(b"c", 1).unwrap().note_published(1);
            remembered.ask_twice(&format!("new/{number}"));
            assert_eq!(remembered.known.len(), 4);
        }
        assert!(remembered.knows("c") && remembered.knows("new/39"));
        assert!(!["a", "b", "d", "new/0"].iter().any(|topic| remembered.knows(topic)));
        assert_eq!((remembered.rows.len(), remembered.bytes), (4, 1 + 3 * 6), "those of the last are the longest");
    }

    /// Where all are in use, one of them goes.
    #[test]
    fn a_topic_that_is_in_use_is_forgotten_where_all_are() {
        let mut remembered = remembered(20);
        let topics: Vec<_> = (0..20).map(|number| number.to_string()).collect();
        for topic in &topics {
            remembered.ask_twice(topic);
        }
        for topic in &topics {
            remembered.get(topic.as_bytes(), 1).unwrap().note_published(1);
        }
        remembered.ask_twice("new");
        assert_eq!(topics.iter().filter(|topic| remembered.knows(topic)).count(), 19);
        assert!(remembered.knows("new"));
    }

    #[test]
    fn what_was_published_is_told_row_by_row() {
        let mut remembered = remembered(8);
        for topic in ["a", "b", "c", "d"] {
            remembered.ask_twice(topic);
        }
        for (topic, messages) in [("a", 3), ("d", 5)] {
            remembered.get(topic.as_bytes(), 1).unwrap().note_published(messages);
        }
        assert_eq!(remembered.published(0, 3), (vec![("a", 3)], Some(3)));
        assert_eq!(remembered.published(3, 3), (vec![("d", 5)], None));
        assert_eq!(remembered.published(4, 3), (vec![], None));
        assert_eq!(remembered.published(usize::MAX, 3), (vec![], None));
    }

    /// Two places each, of as many as there are bits; all is forgotten after so many that were new.
    #[test]
    fn newcomers_are_known_by_their_marks_until_there_were_many() {
        let of = |one: usize, other: usize| one as u64 | (other as u64) << 32;
        let mut newcomers = Newcomers::default();
        let last = NEWCOMER_BITS - 1;
        for (one, other, is_known) in [
            (1, 2, false),
            (last, 4, false),
            (1, 2, true),
            (last, 4, true),
            (1, 4, true),
            (2 + NEWCOMER_BITS, last, true),
            (1, 65, false),
            (66, 2, false),
            (5, 6, false),
            (6, 5, true),
        ] {
            assert_eq!(newcomers.has_come_before(of(one, other)), is_known, "{one} {other}");
        }
        let mut newcomers = Newcomers::default();
        for round in 0..3 {
            for other in 0..NEWCOMERS_MAX {
                assert!(!newcomers.has_come_before(of(0, other)), "round {round}, {other}");
                assert!(newcomers.noted == NEWCOMERS_MAX || newcomers.has_come_before(of(0, other)), "{other}");
            }
        }
        assert_eq!(newcomers.marks.len() * 64, NEWCOMER_BITS);
    }

    /// As wide answers take as much room as many narrow ones; who makes topics long, or groups or Subscription Identifiers many, makes few
    /// of them remembered.
    #[test]
    fn all_that_a_remembered_answer_is_made_of_is_bounded() {
        let ids = |number| (1..=number).collect::<Vec<_>>();
        let own = |number| Own::Other(Box::new(delivery(&ids(number), Own::Same)));
        let long = "x".repeat(2 * BYTES_PER_TOPIC - 1);
        let of_ids = 2 * size_of::<Delivery>() + (300 + 300) * 4;
        // Two long topics are just not too much.
        for (what, prefix, deliveries, groups, bytes, at_once) in [
            ("topics", &*long, vec![], 0, 2048, 2),
            ("groups", "", vec![], 512, 1 + 512 * 4, 1),
            ("receivers", "", vec![delivery(&[], Own::Same); 80], 0, 1 + 80 * size_of::<Delivery>(), 1),
            ("identifiers", "", vec![delivery(&ids(300), own(300))], 0, 1 + of_ids, 1),
        ] {
            let mut remembered = remembered(4);
            for number in 1..=5 {
                for _ in 0..2 {
                    let mut answer = answer(&format!("{prefix}{number}"), 1);
                    (answer.deliveries, answer.groups) = (deliveries.clone(), vec![0; groups]);
                    remembered.note(answer);
                }
                let known = at_once.min(number);
                assert_eq!((remembered.known.len(), remembered.bytes), (known, known * bytes), "{what}");
                assert!(remembered.bytes <= 4 * BYTES_PER_TOPIC, "{what}");
            }
        }
    }
}
