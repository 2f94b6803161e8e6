//! Cpus: the cpu of each shard.
//!
//! Duty: lists and counts to cpus that this process may run on. Must not: ask the system. Neighbours: `load`.

use crate::limits::SHARDS_MAX;

/// What was asked for; the first of list and count that is there counts.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wish<'a> {
    pub(super) list: Option<&'a [usize]>,
    pub(super) shards: Option<usize>,
}

/// The cpu of each shard.
///
/// # Errors
/// None, too many, twice the same, or one that this process may not run on.
pub(super) fn cpus_of(wish: Wish<'_>, allowed: &[usize]) -> Result<Vec<usize>, String> {
    let cpus: Vec<usize> = match (wish.list, wish.shards) {
        (Some(list), _) => list.to_vec(),
        (None, Some(shards)) => allowed.iter().copied().cycle().take(shards.min(SHARDS_MAX + 1)).collect(),
        (None, None) => allowed.iter().copied().take(SHARDS_MAX).collect(),
    };
    if cpus.is_empty() {
        return Err("no shard to start: give --shards 1 or more".into());
    }
    if cpus.len() > SHARDS_MAX {
        return Err(format!("too many shards: {SHARDS_MAX} at most"));
    }
    for (index, cpu) in wish.list.unwrap_or_default().iter().enumerate() {
        if !allowed.contains(cpu) {
            return Err(format!("this process may not run on cpu {cpu}; it may on {allowed:?}"));
        }
        if cpus[..index].contains(cpu) {
            return Err(format!("cpu {cpu} stands there twice"));
        }
    }
    Ok(cpus)
}

/// The cpus of a list such as `0,2-3`.
///
/// # Errors
/// It is no such list.
pub(super) fn parse_cpus(list: &str) -> Result<Vec<usize>, String> {
    let malformed = || format!("--cpus {list}: write numbers and ranges, such as 0,2-3");
    let mut cpus = Vec::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let first: usize = first.trim().parse().map_err(|_| malformed())?;
        let last: usize = last.trim().parse().map_err(|_| malformed())?;
        if first > last || last - first > SHARDS_MAX {
            return Err(malformed());
        }
        cpus.extend(first..=last);
    }
    Ok(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_go_round_the_cpus_and_lists_name_them() {
        let allowed = [0, 1, 2, 3];
        let shards = |count| cpus_of(Wish { list: None, shards: Some(count) }, &allowed);
        let list = |text: &str| cpus_of(Wish { list: Some(&parse_cpus(text)?), shards: None }, &allowed);
        assert_eq!(shards(6).unwrap(), [0, 1, 2, 3, 0, 1]);
        assert_eq!(list("0,2-3").unwrap(), [0, 2, 3]);
        assert_eq!(cpus_of(Wish::default(), &allowed).unwrap(), allowed);
        for bad in [0, 1_000_000_000] {
            shards(bad).unwrap_err();
        }
        for bad in ["3-1", "0,,1", "0,0", "9", "x", "0-100000000000"] {
            list(bad).unwrap_err();
        }
    }
}
