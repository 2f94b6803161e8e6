//! Journals: the files to which the database writes first, and what of them is whole.
//!
//! Duty: find the commits of a journal by their checksums, and write a journal anew from those that are whole. Must not: know what
//! the records mean. Neighbours: `mending` calls it before the database reads them, as that one fails, or silently leaves out all
//! that follows, where one byte is wrong.
//!
//! A journal is commits side by side, numbers little-endian (fjall 3, `journal/entry.rs`; `tests` compare it with the real one):
//! 1, items u32, sequence number u64; for each item 2, kind u8, compression u8, keyspace u64, bytes of key u16, of value u32, of the
//! value as it is stored u32, key, value; 3, checksum of all items u64, `FJL` 3. Zeros follow in a file that was allocated in advance.

use std::ops::Range;

use xxhash_rust::xxh3::Xxh3Default;

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;
const TRAILER: [u8; 4] = *b"FJL\x03";
const START_BYTES: usize = 13;

/// Sequence numbers of commits that follow each other are no further apart. (Keyspaces that are made take some, too.)
const SEQUENCE_STEP_MAX: u64 = 1 << 20;

/// For each byte of a damaged journal so many bytes are looked at to find where it goes on: content could be made so that each place
/// looks like the beginning of a commit.
const SEARCH_BYTES_PER_BYTE: usize = 8;

/// A commit that is whole, but for its head, which no checksum covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Commit {
    /// Where it ends.
    end: usize,
    /// What its head says.
    said_items: u32,
    sequence: u64,
    /// How many items it has.
    items: u32,
}

/// What is whole in a journal.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Walk {
    /// Bytes of commits that are whole, in order.
    spans: Vec<Range<usize>>,
    /// Heads that were wrong: where, and what they are to be.
    heads: Vec<(usize, [u8; START_BYTES])>,
    /// Commits that are whole.
    pub(super) commits: usize,
    /// Bytes between commits that are whole.
    pub(super) damaged_bytes: usize,
    /// Bytes behind the last whole commit that are not zeros only.
    pub(super) tail: Range<usize>,
    /// Whether the tail is the beginning of a commit and nothing else, as it is when a process ends in the middle of writing.
    pub(super) is_torn: bool,
}

impl Walk {
    /// Whether the database can read the file as it is.
    pub(super) fn is_whole(&self) -> bool {
        self.is_mendable_by_cutting() && self.tail.is_empty()
    }

    /// Whether nothing but the tail has to go.
    pub(super) fn is_mendable_by_cutting(&self) -> bool {
        self.damaged_bytes == 0 && self.heads.is_empty()
    }

    /// Commits of which the head was wrong and is known.
    pub(super) fn mended_heads(&self) -> usize {
        self.heads.len()
    }

    /// Bytes of the file up to which all is whole.
    pub(super) fn whole_bytes(&self) -> usize {
        self.tail.start
    }

    /// The journal from what is whole.
    pub(super) fn mended(&self, bytes: &[u8]) -> Vec<u8> {
        let mut mended = bytes.to_vec();
        for (at, head) in &self.heads {
            mended[*at..at + START_BYTES].copy_from_slice(head);
        }
        self.spans.iter().flat_map(|span| &mended[span.clone()]).copied().collect()
    }
}

/// Walks over a journal.
pub(super) fn walk(bytes: &[u8]) -> Walk {
    // A commit does not end with a zero; the zeros of a file that was allocated in advance must not look like the rest of one.
    let content = bytes.len() - bytes.iter().rev().take_while(|byte| **byte == 0).count();
    let work = content.saturating_mul(SEARCH_BYTES_PER_BYTE);
    let mut walker = Walker { bytes: &bytes[..content], work, starts: Vec::new() };
    let mut walk = Walk::default();
    let mut at = 0;
    let mut stop = None;
    while at < content {
        let wrong = match walker.commit_at(at) {
            Ok(commit) => {
                walk.add(at..commit.end);
                walker.starts.push((at, commit));
                at = commit.end;
                continue;
            }
            Err(wrong) => wrong,
        };
        match walker.resume_after(at, content) {
            Some(next) => {
                walk.damaged_bytes += next - at;
                at = next;
            }
            None => {
                stop = Some(wrong);
                break;
            }
        }
    }
    walk.tail = at..content.max(at);
    walk.is_torn = stop == Some(Wrong::Short);
    walk.commits = walker.starts.len();
    walk.heads = wrong_heads(&walker.starts);
    walk
}

impl Walk {
    fn add(&mut self, span: Range<usize>) {
        match self.spans.last_mut() {
            Some(last) if last.end == span.start => last.end = span.end,
            _ => self.spans.push(span),
        }
    }
}

/// Heads that say something else than their commits are. A sequence number that does not fit between its neighbours becomes the one
/// after that of the commit before.
fn wrong_heads(commits: &[(usize, Commit)]) -> Vec<(usize, [u8; START_BYTES])> {
    let mut heads = Vec::new();
    let mut before: Option<u64> = None;
    for (index, &(at, commit)) in commits.iter().enumerate() {
        let next = commits.get(index + 1).map(|(_, next)| next.sequence);
        let fits_before = before.is_none_or(|before| follows(before, commit.sequence));
        let fits_next = next.is_none_or(|next| follows(commit.sequence, next));
        // With a neighbour on one side only, and none that fits, it is the other one that may be wrong.
        let over_next = commits.get(index + 2).map(|(_, next)| next.sequence);
        let is_next_wrong = !fits_next && over_next.is_some_and(|over| follows(commit.sequence, over));
        let sequence = match before {
            _ if fits_before && (fits_next || is_next_wrong) => commit.sequence,
            Some(before) if !fits_before || next.is_some_and(|next| follows(before + 1, next)) => before + 1,
            None if !fits_next => next.map_or(commit.sequence, |next| next.saturating_sub(1)),
            _ => commit.sequence,
        };
        if sequence != commit.sequence || commit.said_items != commit.items {
            let mut head = [START; START_BYTES];
            head[1..5].copy_from_slice(&commit.items.to_le_bytes());
            head[5..].copy_from_slice(&sequence.to_le_bytes());
            heads.push((at, head));
        }
        before = Some(sequence);
    }
    heads
}

fn follows(before: u64, after: u64) -> bool {
    after > before && after - before <= SEQUENCE_STEP_MAX
}

/// Why there is no commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    /// The bytes end in the middle of it.
    Short,
    /// They are something else.
    Other,
}

struct Walker<'a> {
    bytes: &'a [u8],
    /// Bytes that may still be looked at in a search.
    work: usize,
    /// Commits that were found, and where.
    starts: Vec<(usize, Commit)>,
}

impl Walker<'_> {
    /// The place after `at` from which commits follow each other up to the end of the file. Less than that is not believed: what
    /// clients have sent is in these bytes, too, and must never be taken for commits.
    fn resume_after(&mut self, at: usize, content: usize) -> Option<usize> {
        let last = self.starts.last().map(|(_, commit)| commit.sequence);
        for start in at + 1..content {
            if self.bytes[start] == START && self.reaches_end(start, content, last) {
                return Some(start);
            }
            if self.work == 0 {
                return None;
            }
        }
        None
    }

    fn reaches_end(&mut self, start: usize, content: usize, last: Option<u64>) -> bool {
        let (mut at, mut last) = (start, last);
        while at < content && self.work > 0 {
            let Ok(commit) = self.commit_at(at) else {
                // So far as the search looked, it looked in vain.
                self.work = self.work.saturating_sub(START_BYTES + at - start);
                return false;
            };
            if last.is_some_and(|last| !follows(last, commit.sequence)) {
                return false;
            }
            last = Some(commit.sequence);
            self.work = self.work.saturating_sub(commit.end - at);
            at = commit.end;
        }
        at >= content
    }

    /// The commit at a place.
    fn commit_at(&self, at: usize) -> Result<Commit, Wrong> {
        let mut rest = Rest { bytes: &self.bytes[at..] };
        if rest.byte()? != START {
            return Err(Wrong::Other);
        }
        let (said_items, sequence) = (u32::from_le_bytes(rest.array()?), u64::from_le_bytes(rest.array()?));
        let mut hasher = Xxh3Default::new();
        let mut items = 0_u32;
        loop {
            let before = rest.bytes;
            match rest.byte()? {
                ITEM => rest.item()?,
                CLEAR => drop(rest.take(8)?),
                END => break,
                _ => return Err(Wrong::Other),
            }
            hasher.update(&before[..before.len() - rest.bytes.len()]);
            items = items.checked_add(1).ok_or(Wrong::Other)?;
        }
        let checksum = u64::from_le_bytes(rest.array()?);
        if rest.array()? != TRAILER || checksum != hasher.digest() {
            return Err(Wrong::Other);
        }
        Ok(Commit { end: self.bytes.len() - rest.bytes.len(), said_items, sequence, items })
    }
}

/// What is left to read.
struct Rest<'a> {
    bytes: &'a [u8],
}

impl<'a> Rest<'a> {
    fn take(&mut self, bytes: usize) -> Result<&'a [u8], Wrong> {
        let (taken, rest) = self.bytes.split_at_checked(bytes).ok_or(Wrong::Short)?;
        self.bytes = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Wrong> {
        let (taken, rest) = self.bytes.split_first_chunk().ok_or(Wrong::Short)?;
        self.bytes = rest;
        Ok(*taken)
    }

    fn byte(&mut self) -> Result<u8, Wrong> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn item(&mut self) -> Result<(), Wrong> {
        let [kind, compression] = self.array()?;
        let _keyspace: [u8; 8] = self.array()?;
        let key = u16::from_le_bytes(self.array()?);
        let [value, stored] = [self.array()?, self.array()?].map(u32::from_le_bytes);
        // A kind of its own, 4, is for values apart, which are not used here.
        if kind > 2 || compression > 1 || (compression == 0 && value != stored) {
            return Err(Wrong::Other);
        }
        self.take(usize::from(key))?;
        self.take(stored as usize)?;
        Ok(())
    }
}
