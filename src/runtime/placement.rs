//! Placement: the cpus that this process may use.
//!
//! Duty: ask the kernel. Must not: choose. Neighbours: `cli` chooses from it, `start` pins shards.

/// Cpus on which this process may run, in rising order. Empty if the kernel does not tell.
pub fn allowed_cpus() -> Vec<usize> {
    // SAFETY: all-zero is a valid, empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: a valid set to write to, of the size given.
    let result = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) };
    if result != 0 {
        return Vec::new();
    }
    // SAFETY: every index is below the size of the set.
    (0..libc::CPU_SETSIZE as usize).filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &set) }).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn this_process_may_run_somewhere() {
        assert!(!super::allowed_cpus().is_empty());
    }
}
