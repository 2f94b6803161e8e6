//! The bodies of the fuzz targets, run with seeded bytes in every build.
//!
//! Duty: random bytes, damaged packets and whole packets through the codec. Must not: need cargo-fuzz. Neighbours: `fuzz/`.

#![allow(clippy::disallowed_methods)]

#[path = "../fuzz/bodies/mod.rs"]
mod bodies;

use bodies::packets::{Blocks, KINDS, Source, packet_of};
use proptest::prelude::*;
use ringmq::wire::{ProtocolVersion, Sender};

/// Bytes of which most are text, so that strings get longer than their first broken character.
fn texty_bytes(length: usize) -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![4 => b' '..=b'~', 2 => any::<u8>(), 1 => 0u8..4];
    prop::collection::vec(byte, 0..length)
}

/// One packet's bytes, as `sender` sends them in `version`.
fn packet_bytes(kind: usize, version: ProtocolVersion, sender: Sender, seed: &[u8]) -> Vec<u8> {
    let mut source = Source::new(seed);
    let blocks = Blocks::of(&mut source);
    let mut bytes = Vec::new();
    packet_of(kind, &mut source, &blocks, version, sender).encode(version, &mut bytes);
    bytes
}

/// Inputs per body: 2,000, or as `RINGMQ_FUZZ_INPUTS` says (scripts/soak).
fn cases() -> u32 {
    std::env::var("RINGMQ_FUZZ_INPUTS").ok().and_then(|text| text.parse().ok()).unwrap_or(2000)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    /// Every packet kind, version and sender: what is encoded is decoded, and no part of it is taken for the whole.
    #[test]
    fn an_encoded_packet_is_decoded_to_the_same(seed in texty_bytes(600)) {
        bodies::roundtrip::run(&seed);
    }

    /// Random bytes: no panic, and what is accepted is accepted again.
    #[test]
    fn random_bytes_are_refused_or_understood(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        bodies::decode::run(&bytes);
    }

    /// R09 to R11 in small: the tries answer as plain lists do.
    #[test]
    fn the_tries_answer_as_plain_lists(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        bodies::trie::trie_equals_naive(&bytes);
    }

    /// Whatever clients send: no panic, and who has gone is forgotten.
    #[test]
    fn shards_survive_any_bytes_of_any_clients(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        bodies::turns::run(&bytes);
    }

    /// A packet with some bits flipped, cut off, or with bytes put in, and its Remaining Length as it was or corrected.
    #[test]
    fn a_damaged_packet_is_refused_or_understood(
        kind in 0..KINDS,
        version in prop::sample::select(vec![ProtocolVersion::V31, ProtocolVersion::V311, ProtocolVersion::V5]),
        server: bool,
        seed in texty_bytes(300),
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0u8..8), 0..4),
        cut in prop::option::weighted(0.3, any::<prop::sample::Index>()),
        put in prop::option::weighted(0.3, (any::<prop::sample::Index>(), any::<u8>())),
        correct: bool,
    ) {
        let sender = if server { Sender::Server } else { Sender::Client };
        let mut bytes = packet_bytes(kind, version, sender, &seed);
        for (at, bit) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
        }
        if let Some(at) = cut {
            bytes.truncate(1 + at.index(bytes.len()));
        }
        if let Some((at, byte)) = put {
            bytes.insert(at.index(bytes.len()), byte);
        }
        if correct && (2..=129).contains(&bytes.len()) {
            bytes[1] = bytes.len() as u8 - 2;
        }
        bodies::decode::run(&bytes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    /// A PUBLISH that says no more than it must, or nearly so, with another one behind it: the quick look sees what `decode` sees.
    #[test]
    fn a_plain_publish_is_found_at_a_glance_and_nothing_else_is(
        first_byte in prop_oneof![6 => prop::sample::select(vec![0x30_u8, 0x32, 0x34]), 1 => 0x30_u8..0x40],
        topic in prop_oneof![4 => "[a-z/]{0,9}".prop_map(String::into_bytes), 1 => prop::collection::vec(any::<u8>(), 0..4)],
        packet_id in prop_oneof![4 => 1_u16.., 1 => Just(0)],
        before_payload in prop_oneof![3 => Just(vec![0]), 2 => Just(vec![]), 1 => prop::collection::vec(0_u8..4, 1..9)],
        payload_len in prop_oneof![6 => 0..10_usize, 2 => 110..130_usize, 1 => 16_350..16_390_usize],
        damage in prop::option::weighted(0.3, (0..16_usize, 0_u8..8)),
    ) {
        let mut body = (topic.len() as u16).to_be_bytes().to_vec();
        body.extend(topic);
        if first_byte & 6 != 0 {
            body.extend(packet_id.to_be_bytes());
        }
        body.extend(before_payload);
        body.resize(body.len() + payload_len, b'.');
        let mut bytes = vec![first_byte];
        match body.len() {
            0..0x80 => bytes.push(body.len() as u8),
            0x80..0x4000 => bytes.extend([body.len() as u8 | 0x80, (body.len() >> 7) as u8]),
            _ => bytes.extend([body.len() as u8 | 0x80, (body.len() >> 7) as u8 | 0x80, (body.len() >> 14) as u8]),
        }
        bytes.extend(&body[..]);
        bytes.extend([0x30, 4, 0, 1, b'a', 0]);
        if let Some((at, bit)) = damage {
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
        }
        for version in [ProtocolVersion::V31, ProtocolVersion::V311, ProtocolVersion::V5] {
            bodies::decode::find_plain(&bytes, version);
        }
    }
}

/// What fuzzing found worth keeping, through the bodies again: an input that once failed does not fail again.
#[test]
fn the_corpus_passes() {
    pass_all("decode", bodies::decode::run);
    pass_all("roundtrip", bodies::roundtrip::run);
    pass_all("trie", bodies::trie::trie_equals_naive);
    pass_all("turns", bodies::turns::run);

    fn pass_all(target: &str, run: impl Fn(&[u8])) {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
        let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut inputs = 0;
        for file in files {
            run(&std::fs::read(file.expect("a file").path()).expect("readable"));
            inputs += 1;
        }
        assert!(inputs > 10, "{target} has a corpus of {inputs} inputs");
    }
}

/// Every bit of one packet of each kind flipped alone, and every length of it.
#[test]
fn every_single_flip_and_every_cut_is_refused_or_understood() {
    let seed: Vec<u8> = (0..200).map(|index| if index % 7 == 0 { 3 } else { b'a' + (index % 19) as u8 }).collect();
    for kind in 0..KINDS {
        for version in [ProtocolVersion::V31, ProtocolVersion::V311, ProtocolVersion::V5] {
            for sender in [Sender::Client, Sender::Server] {
                let bytes = packet_bytes(kind, version, sender, &seed);
                for bit in 0..bytes.len() * 8 {
                    let mut damaged = bytes.clone();
                    damaged[bit / 8] ^= 1 << (bit % 8);
                    bodies::decode::run(&damaged);
                }
                (0..bytes.len()).for_each(|end| bodies::decode::run(&bytes[..end]));
            }
        }
    }
}
