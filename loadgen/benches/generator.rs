//! How fast the generator is against a broker that does nearly nothing: the tests' relay on CPU 0, the generator on CPU 1.
//! Judges nothing but integrity; the number is for whoever changes the hot path.

#[path = "../tests/relay/mod.rs"]
mod relay;

use std::time::Duration;

use relay::Relay;
use ringmq_loadgen::engine;
use ringmq_loadgen::plan::{Overrides, Plan};
use ringmq_loadgen::report::Report;
use ringmq_loadgen::scenario::Scenario;

fn main() {
    let relay = Relay::start(None, || {
        let mut cpu = rustix::thread::CpuSet::new();
        cpu.set(0);
        rustix::thread::sched_setaffinity(None, &cpu).expect("CPU 0 exists");
    });
    // Asked before the first run binds this thread to one CPU.
    let cpu = std::thread::available_parallelism().map_or(0, |cpus| cpus.get() - 1).min(1);
    for qos in 0..3 {
        let flags = Overrides {
            port: relay.port,
            qos: Some(qos),
            cpus: vec![cpu],
            duration: Some(Duration::from_secs(2)),
            ..Overrides::default()
        };
        let plan = Plan::resolve(Scenario::find("stream").expect("shipped"), flags).expect("the plan is valid");
        let report = Report::new(&plan, engine::run(&plan).expect("the relay answers"));
        println!("{report}");
        assert!(report.passed);
    }
}
