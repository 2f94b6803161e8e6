//! Scheduling: what threads ask of the kernel's scheduler, for when there are more of them than processors.
//!
//! Duty: shards run as soon as there is something to do, what can wait goes behind them. Must not: fail; a kernel that refuses leaves
//! things as they are. Neighbours: `start` for shards; `beside` and `copying` for the others.

/// How long a shard asks to run at a time where others want its processor, nanoseconds; the kernel's own is 0.7 to 3 ms. Who asks for
/// less is woken before who runs for longer, and no thread gets more or less of a processor for it. Fewer than these it does not give.
const SLICE_NANOS: u64 = 100_000;

/// Has the calling thread, a shard's, run soon after it is woken (Linux 6.12 and later; those before take no notice). One that has a
/// policy of the operator's, such as a real-time one, keeps it.
pub(super) fn be_prompt() {
    let Some(mut wanted) = attributes().filter(|known| known.sched_policy == libc::SCHED_OTHER as u32) else { return };
    wanted.sched_runtime = SLICE_NANOS;
    // SAFETY: what is pointed to lives and has the size that it names; 0 is the calling thread.
    unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const wanted, 0) };
}

/// Has the calling thread go behind the shards: where they are busy all the time it gets about a tenth of a processor, as what it does
/// is to end some time.
pub(super) fn be_patient() {
    const NICER: i32 = 10;
    // SAFETY: no pointers; on Linux it is for the calling thread alone.
    unsafe { libc::nice(NICER) };
}

/// How the calling thread is scheduled.
fn attributes() -> Option<libc::sched_attr> {
    const SIZE: usize = size_of::<libc::sched_attr>();
    // SAFETY: all-zero is a valid `sched_attr`: integers.
    let mut known: libc::sched_attr = unsafe { std::mem::zeroed() };
    // SAFETY: there is room for as many bytes as are named; 0 is the calling thread.
    let answer = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut known, SIZE, 0) };
    (answer == 0).then_some(known)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// What a thread is given before and after.
    fn before_and_after(change: fn()) -> [libc::sched_attr; 2] {
        let changed = thread::spawn(move || {
            let before = attributes().unwrap();
            change();
            [before, attributes().unwrap()]
        });
        changed.join().unwrap()
    }

    #[test]
    fn a_shard_asks_for_short_slices_and_no_more_of_the_processor() {
        let [before, after] = before_and_after(be_prompt);
        // A kernel that knows no slices says 0.
        assert!(after.sched_runtime == SLICE_NANOS || before.sched_runtime == 0, "{}", after.sched_runtime);
        assert_eq!((after.sched_nice, after.sched_policy), (before.sched_nice, before.sched_policy));
    }

    #[test]
    fn what_can_wait_goes_behind_the_shards() {
        let [before, after] = before_and_after(be_patient);
        // There is nothing above 19.
        assert_eq!(after.sched_nice, 19.min(before.sched_nice + 10));
    }
}
