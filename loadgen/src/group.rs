//! The detector of shared subscriptions: which messages have arrived at any member of a group, once and only once.
//! Must not know members or threads. Neighbours: `engine::subscriber` fills boards, `engine::harvest` merges them.

/// Sequence numbers are below this; a larger one is no message of ours and would only cost memory.
const SEQUENCE_MAX: u64 = 1 << 32;

/// One shared subscription as one thread's members see it: a bit for each message of each topic.
#[derive(Clone, Debug, Default)]
pub struct Board {
    /// The topic of the first row.
    first: u32,
    rows: Vec<Vec<u64>>,
}

impl Board {
    /// A board for the messages of these topics, given in ascending order.
    pub fn new(topics: &[u32]) -> Self {
        let (Some(&first), Some(&last)) = (topics.first(), topics.last()) else { return Self::default() };
        Self { first, rows: vec![Vec::new(); (last - first) as usize + 1] }
    }

    /// Marks message `sequence` of `topic`; false when it was marked before or cannot be.
    pub fn mark(&mut self, topic: u32, sequence: u64) -> bool {
        let Some(row) = self.rows.get_mut(topic.wrapping_sub(self.first) as usize) else { return false };
        if sequence >= SEQUENCE_MAX {
            return false;
        }
        let (word, bit) = ((sequence / 64) as usize, 1 << (sequence % 64));
        if word >= row.len() {
            row.resize(word + 1, 0);
        }
        let new = row[word] & bit == 0;
        row[word] |= bit;
        new
    }

    /// Adds the marks of another thread and gives the number of messages that both have.
    pub fn merge(&mut self, other: &Self) -> u64 {
        let mut both = 0;
        for (row, others) in self.rows.iter_mut().zip(&other.rows) {
            row.resize(row.len().max(others.len()), 0);
            for (word, more) in row.iter_mut().zip(others) {
                both += u64::from((*word & more).count_ones());
                *word |= more;
            }
        }
        both
    }

    /// Messages that are missing, given how many were sent on each of `topics`.
    pub fn lost(&self, topics: &[u32], sent: impl Fn(u32) -> u64) -> u64 {
        let row = |topic: u32| self.rows.get(topic.wrapping_sub(self.first) as usize);
        let seen = |topic, sent| row(topic).map_or(0, |row| marks_below(row, sent));
        topics.iter().map(|&topic| sent(topic) - seen(topic, sent(topic))).sum()
    }
}

/// Marks of messages that were sent; a changed stamp may have marked others.
fn marks_below(row: &[u64], sent: u64) -> u64 {
    let (words, rest) = ((sent / 64) as usize, sent % 64);
    let whole: u32 = row.iter().take(words).map(|word| word.count_ones()).sum();
    let part = row.get(words).map_or(0, |word| (word & ((1 << rest) - 1)).count_ones());
    u64::from(whole + part)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_message_is_new_once() {
        let mut board = Board::new(&[3, 5]);
        assert!(board.mark(3, 70) && board.mark(5, 70) && !board.mark(3, 70));
        assert_eq!(board.lost(&[3, 5], |topic| if topic == 3 { 71 } else { 0 }), 70);
    }

    /// A broker may send any bytes.
    #[test]
    fn a_mark_outside_the_board_is_not_made() {
        let mut board = Board::new(&[3, 5]);
        assert!(!board.mark(2, 0) && !board.mark(6, 0) && !board.mark(3, u64::MAX) && !board.mark(3, SEQUENCE_MAX));
        assert!(!Board::new(&[]).mark(0, 0));
    }

    proptest! {
        /// Two threads' boards agree with sets of everything seen.
        #[test]
        fn merged_boards_equal_a_naive_count(
            one in proptest::collection::vec((0u32..3, 0u64..200), 0..200),
            two in proptest::collection::vec((0u32..3, 0u64..200), 0..200),
        ) {
            let fill = |marks: &[(u32, u64)]| {
                let mut board = Board::new(&[0, 2]);
                let mut seen = HashSet::new();
                for &(topic, sequence) in marks {
                    prop_assert_eq!(board.mark(topic, sequence), seen.insert((topic, sequence)));
                }
                Ok((board, seen))
            };
            let ((mut all, ones), (other, twos)) = (fill(&one)?, fill(&two)?);
            prop_assert_eq!(all.merge(&other), ones.intersection(&twos).count() as u64);
            let seen = ones.union(&twos).filter(|(_, sequence)| *sequence < 150).count() as u64;
            prop_assert_eq!(all.lost(&[0, 1, 2], |_| 150), 3 * 150 - seen);
        }
    }
}
