//! Faults on purpose, for tests of what happens then.
//!
//! Duty: panic when a client of a faulty shard (`ShardConfig::is_faulty`) asks for it by topic. Must not: do anything on
//! another shard. Neighbours: `publish` asks where a topic begins with `$`, which no client may publish to.

/// Panics if the topic asks for it: `$fault/panic` once, `$fault/panic-twice` again while the first is on its way.
pub(super) fn cause(topic: &str) {
    match topic {
        "$fault/panic" => panic!("a fault was asked for"),
        "$fault/panic-twice" => {
            let _again = PanicsAgain;
            panic!("a fault was asked for, and another one");
        }
        _ => {}
    }
}

struct PanicsAgain;

impl Drop for PanicsAgain {
    fn drop(&mut self) {
        panic!("another fault was asked for");
    }
}
