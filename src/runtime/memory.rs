//! Memory: how much of it this process may have, and what of that the shards may hold for clients.
//!
//! Duty: read the limits of the cgroup and the size of the machine; lower a default that would be too much for it; tell the
//! allocator what to do with what is freed. Must not: touch what the user has set, or fail: what cannot be read limits nothing.
//! Neighbours: `start` asks once.

use std::fs;
use std::path::{Path, PathBuf};

use crate::limits::Limits;

/// Held bytes are half of what there is: the rest is for buffers of the kernel, for tables, and for what allocation wastes.
const PART_HELD: usize = 2;

/// The least that the limit may be set to, bytes.
const HELD_BYTES_MIN: usize = 1 << 20;

/// What there is of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Memory {
    bytes: usize,
    owner: &'static str,
}

impl Memory {
    /// Of this process: what its cgroups allow or what the machine has, whichever is less. None if nothing says.
    pub(super) fn of_process() -> Option<Self> {
        Self::under(Path::new("/"))
    }

    fn under(root: &Path) -> Option<Self> {
        let machine = fs::read_to_string(root.join("proc/meminfo")).ok().and_then(|text| memory_total(&text));
        let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
        let files = limit_files(&groups).into_iter().map(|file| root.join("sys/fs/cgroup").join(file));
        let allowed = files.filter_map(|file| fs::read_to_string(file).ok()?.trim().parse().ok()).min();
        let candidates = [(allowed, "its cgroup"), (machine, "the machine")];
        let known = candidates.into_iter().filter_map(|(bytes, owner)| Some(Self { bytes: bytes?, owner }));
        known.min_by_key(|memory| memory.bytes)
    }
}

/// Has the C library join what is freed with what is free beside it, whatever its size. It would put aside pieces of up to 128 bytes, as
/// most messages are, and hand them out again last first: a queue of them soon lies scattered, and each message waits for memory.
pub(super) fn join_what_is_freed() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it changes a number that the allocator reads, under a lock of its own.
    unsafe {
        libc::mallopt(libc::M_MXFAST, 0);
    }
}

/// Lowers what each of `shards` shards may hold to its part of the memory, and says in words for the operator what holds.
pub(super) fn fit_held_bytes(limits: &mut Limits, shards: usize, memory: Option<Memory>) -> String {
    let part = memory.map(|memory| ((memory.bytes / PART_HELD / shards).max(HELD_BYTES_MIN), memory));
    let reason = match part {
        Some((part, memory)) if part < limits.held_bytes_per_shard_max => {
            limits.held_bytes_per_shard_max = part;
            format!(" (half of the {} MiB of {})", memory.bytes >> 20, memory.owner)
        }
        _ => String::new(),
    };
    format!("each shard holds at most {} MiB for its clients{reason}", limits.held_bytes_per_shard_max >> 20)
}

fn memory_total(meminfo: &str) -> Option<usize> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: usize = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Files that may hold a limit, below the mount point of the cgroups: of each group of the process and of all above it, as any
/// of them may limit. Version 2 has one tree (`0::/path`), version 1 one for memory (`4:memory:/path`).
fn limit_files(groups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let (tree, file) = match controllers {
            "" => ("", "memory.max"),
            _ if controllers.split(',').any(|controller| controller == "memory") => ("memory", "memory.limit_in_bytes"),
            _ => continue,
        };
        let relative = Path::new(path.trim_start_matches('/'));
        files.extend(relative.ancestors().map(|group| Path::new(tree).join(group).join(file)));
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMINFO: &str = "MemTotal:        4194304 kB\nMemFree:          123 kB\n";

    /// A file tree of this test alone, removed when dropped.
    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str, files: &[(&str, &str)]) -> Self {
            let root = std::env::temp_dir().join(format!("ringmq-memory-{name}-{}", std::process::id()));
            for (file, text) in files {
                let file = root.join(file);
                fs::create_dir_all(file.parent().unwrap()).unwrap();
                fs::write(file, text).unwrap();
            }
            Self(root)
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn found(name: &str, files: &[(&str, &str)]) -> Option<(usize, &'static str)> {
        let tree = Tree::new(name, files);
        Memory::under(&tree.0).map(|memory| (memory.bytes >> 20, memory.owner))
    }

    #[test]
    fn the_least_limit_of_a_group_or_of_one_above_it_holds() {
        let group = ("proc/self/cgroup", "0::/system.slice/ringmq.service\n");
        let memory = ("proc/meminfo", MEMINFO);
        let own = ("sys/fs/cgroup/system.slice/ringmq.service/memory.max", "max\n");
        let above = ("sys/fs/cgroup/system.slice/memory.max", "1073741824\n");
        assert_eq!(found("none", &[group, memory, own]), Some((4096, "the machine")));
        assert_eq!(found("above", &[group, memory, own, above]), Some((1024, "its cgroup")));
        let own = ("sys/fs/cgroup/system.slice/ringmq.service/memory.max", "536870912\n");
        assert_eq!(found("own", &[group, memory, own, above]), Some((512, "its cgroup")));
    }

    #[test]
    fn groups_of_version_1_and_containers_are_understood() {
        let v1 = ("proc/self/cgroup", "5:cpu,cpuacct:/x\n4:hugetlb,memory:/docker/abc\n");
        let unlimited = ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
        let limited = ("sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes", "268435456\n");
        assert_eq!(found("v1", &[v1, unlimited, limited]), Some((256, "its cgroup")));
        // A container sees its own group as the root.
        let files = [("proc/self/cgroup", "0::/\n"), ("sys/fs/cgroup/memory.max", "134217728\n")];
        assert_eq!(found("container", &files), Some((128, "its cgroup")));
    }

    #[test]
    fn what_cannot_be_read_limits_nothing() {
        assert_eq!(found("nothing", &[]), None);
        assert_eq!(found("nonsense", &[("proc/meminfo", "MemTotal: many\n"), ("proc/self/cgroup", "::\n\n0")]), None);
        let mut limits = Limits::default();
        let told = fit_held_bytes(&mut limits, 2, None);
        assert_eq!((told.as_str(), limits), ("each shard holds at most 1024 MiB for its clients", Limits::default()));
    }

    #[test]
    fn a_small_machine_lowers_what_each_shard_may_hold_and_a_large_one_does_not() {
        let mut limits = Limits::default();
        let small = Memory { bytes: 2 << 30, owner: "its cgroup" };
        let told = fit_held_bytes(&mut limits, 4, Some(small));
        assert_eq!(limits.held_bytes_per_shard_max, 256 << 20);
        assert_eq!(told, "each shard holds at most 256 MiB for its clients (half of the 2048 MiB of its cgroup)");
        let large = Memory { bytes: 1 << 40, owner: "the machine" };
        fit_held_bytes(&mut limits, 4, Some(large));
        assert_eq!(limits.held_bytes_per_shard_max, 256 << 20);
    }

    #[test]
    #[cfg(target_env = "gnu")]
    fn freed_pieces_of_the_size_of_messages_are_not_put_aside() {
        join_what_is_freed();
        // SAFETY: it only counts.
        let bytes_put_aside = || unsafe { libc::mallinfo2() }.fsmblks;
        let before = bytes_put_aside();
        let pieces: Vec<Vec<u8>> = (0..100).map(|_| Vec::with_capacity(100)).collect();
        drop(pieces);
        assert!(bytes_put_aside() <= before);
    }

    #[test]
    fn this_machine_says_how_much_it_has() {
        assert!(Memory::of_process().is_some_and(|memory| memory.bytes > 1 << 20));
    }
}
