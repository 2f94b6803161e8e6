//! Archive: the frame of the database's other files: named sections, a table of them, a trailer.
//!
//! Duty: read and write the frame with all its checksums. Must not: touch files. Neighbours: `trees` reads tables and manifests.
//!
//! Numbers are little-endian (crate `sfa`, version 1): sections; `TOC!`, sections u32, for each position u64, length u64, bytes of its
//! name u16, name; `SFA!`, 1, 0, checksum of the table u128, its position u64, its length u64.

use xxhash_rust::xxh3::xxh3_128;

/// Bytes of the trailer.
pub(super) const TRAILER_BYTES: usize = 38;

/// Largest table of sections that is believed, bytes.
const TABLE_BYTES_MAX: u64 = 1 << 20;

const TRAILER: [u8; 6] = *b"SFA!\x01\x00";
const TABLE: [u8; 4] = *b"TOC!";

/// Where the table of sections is, by a trailer at the end of so many bytes.
pub(super) fn table_place(trailer: &[u8], file_bytes: u64) -> Option<(u64, u64)> {
    let rest = trailer.strip_prefix(&TRAILER)?;
    let (_, rest) = rest.split_first_chunk::<16>()?;
    let (at, rest) = rest.split_first_chunk()?;
    let (at, bytes) = (u64::from_le_bytes(*at), u64::from_le_bytes(rest.try_into().ok()?));
    let is_before_trailer = at.checked_add(bytes)?.checked_add(TRAILER_BYTES as u64)? == file_bytes;
    (is_before_trailer && bytes <= TABLE_BYTES_MAX).then_some((at, bytes))
}

/// Whether a table of sections is the one that the trailer means, and its sections are before it.
pub(super) fn is_table_whole(trailer: &[u8], table: &[u8], at: u64) -> bool {
    trailer.get(6..22).is_some_and(|checksum| checksum == xxh3_128(table).to_le_bytes())
        && sections_of(table).is_some_and(|sections| {
            sections.iter().all(|(_, from, bytes)| from.checked_add(*bytes).is_some_and(|end| end <= at))
        })
}

/// Name, position and length of each section.
fn sections_of(table: &[u8]) -> Option<Vec<(&[u8], u64, u64)>> {
    let rest = table.strip_prefix(&TABLE)?;
    let (count, mut rest) = rest.split_first_chunk()?;
    let mut sections = Vec::new();
    for _ in 0..u32::from_le_bytes(*count) {
        let (at, after) = rest.split_first_chunk()?;
        let (bytes, after) = after.split_first_chunk()?;
        let (name_bytes, after) = after.split_first_chunk()?;
        let (name, after) = after.split_at_checked(usize::from(u16::from_le_bytes(*name_bytes)))?;
        sections.push((name, u64::from_le_bytes(*at), u64::from_le_bytes(*bytes)));
        rest = after;
    }
    rest.is_empty().then_some(sections)
}

/// The sections of a whole archive: name and content. `None`: it is not whole, as far as its frame can tell.
pub(super) fn read(archive: &[u8]) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    let (_, trailer) = archive.split_last_chunk::<TRAILER_BYTES>()?;
    let (at, bytes) = table_place(trailer, archive.len() as u64)?;
    let table = &archive[at as usize..(at + bytes) as usize];
    if !is_table_whole(trailer, table, at) {
        return None;
    }
    let section = |(name, from, bytes): (&[u8], u64, u64)| {
        (name.to_vec(), archive[from as usize..(from + bytes) as usize].to_vec())
    };
    Some(sections_of(table)?.into_iter().map(section).collect())
}

/// An archive of these sections.
pub(super) fn write(sections: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let mut archive = Vec::new();
    let mut table = TABLE.to_vec();
    table.extend((sections.len() as u32).to_le_bytes());
    for (name, content) in sections {
        table.extend((archive.len() as u64).to_le_bytes());
        table.extend((content.len() as u64).to_le_bytes());
        table.extend((name.len() as u16).to_le_bytes());
        table.extend_from_slice(name);
        archive.extend_from_slice(content);
    }
    let at = archive.len() as u64;
    archive.extend_from_slice(&table);
    archive.extend(TRAILER);
    archive.extend(xxh3_128(&table).to_le_bytes());
    archive.extend(at.to_le_bytes());
    archive.extend((table.len() as u64).to_le_bytes());
    archive
}
