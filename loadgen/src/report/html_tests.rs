//! The page as its readers' programs meet it: well-formed, whole in itself, with every text escaped.
//! Neighbour: `html`.

use super::*;
use crate::engine::{Harvest, Interval, Outcome, Phase, Snapshot};
use crate::latency::IntervalLatency;
use crate::plan::{Overrides, Plan};
use crate::scenario::Scenario;

fn report(scenario: &str, change: impl Fn(&mut Scenario, &mut Outcome)) -> Report {
    let snapshot =
        |at_ns, delivered| Snapshot { at_ns, delivered, published: delivered, idle_ns: vec![0], broker: None };
    let mut outcome = Outcome {
        setup_ns: 1_000_000,
        broker_before: None,
        window: [snapshot(0, 0), snapshot(300_000_000, 30)],
        timeline: Vec::new(),
        harvest: Harvest::default(),
        phases: Vec::new(),
        agreed: None,
    };
    let mut scenario = Scenario::find(scenario).expect("a shipped scenario");
    change(&mut scenario, &mut outcome);
    let plan = Plan::resolve(scenario, Overrides::default()).expect("it resolves");
    Report::new(&plan, outcome)
}

/// A run with everything in it: latencies with a gap, a broker, a phase.
fn full() -> Report {
    let mut report = report("stream", |_, outcome| {
        (1..2_000).for_each(|value| outcome.harvest.latency.record(value * 100_000, 0));
        outcome.timeline = (0..3).map(interval).collect();
        let snapshot = |at_ns| Snapshot { at_ns, delivered: 0, published: 0, idle_ns: Vec::new(), broker: None };
        let (from, to) = (snapshot(0), snapshot(500_000_000));
        outcome.phases = vec![Phase { name: "replay", unit: "messages", count: 4_000, from, to }];
    });
    report.conditions.command_line = "ringmq-loadgen stream".to_owned();
    report
}

fn interval(number: u64) -> Interval {
    let latency = IntervalLatency { count: 10, p50_us: 40.0, p99_us: 400.0, max_us: 9_000.0 };
    Interval {
        from_ns: number * 100_000_000,
        to_ns: (number + 1) * 100_000_000,
        delivered: 10 * number,
        published: 10,
        latency: (number != 1).then_some(latency),
        broker_cpu_ns: Some(number * 10_000_000),
        broker_rss_bytes: Some(7 << 20),
    }
}

/// Every element that is opened is closed in turn, every attribute is quoted, and no `&` or `<` stands alone.
///
/// Errors: what is wrong, with the text from there on.
fn check_markup(page: &str) -> Result<(), String> {
    const VOID: [&str; 2] = ["meta", "!DOCTYPE"];
    let mut open: Vec<&str> = Vec::new();
    let mut rest = page;
    while let Some(at) = rest.find('<') {
        let (text, from) = rest.split_at(at);
        if open.last() != Some(&"style") {
            check_text(text)?;
        }
        let end = from.find('>').ok_or_else(|| format!("no end: {from:.60}"))?;
        let tag = &from[1..end];
        rest = &from[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            if open.pop() != Some(name) {
                return Err(format!("</{name}> closes nothing: {rest:.60}"));
            }
            continue;
        }
        let (name, attributes) = tag.split_once(' ').unwrap_or((tag, ""));
        if attributes.matches('"').count() % 2 != 0 || attributes.contains('<') {
            return Err(format!("an attribute of <{tag}> is not quoted"));
        }
        if !tag.ends_with('/') && !VOID.contains(&name) {
            open.push(name);
        }
    }
    if open.is_empty() { check_text(rest) } else { Err(format!("never closed: {open:?}")) }
}

fn check_text(text: &str) -> Result<(), String> {
    let entities = ["amp;", "lt;", "gt;", "quot;", "#39;"];
    let lonely = text.split('&').skip(1).find(|rest| !entities.iter().any(|entity| rest.starts_with(entity)));
    lonely.map_or(Ok(()), |rest| Err(format!("& stands alone: {rest:.60}")))
}

#[test]
fn the_check_itself_sees_broken_markup() {
    assert_eq!(check_markup("<p class=\"a\">x &amp; y</p>"), Ok(()));
    for broken in ["<p>", "<p></div>", "</p>", "<p>a & b</p>", "<p class=\"a>x</p>", "<p"] {
        assert!(check_markup(broken).is_err(), "{broken}");
    }
}

#[test]
fn a_page_is_well_formed_and_needs_nothing_from_outside() {
    for page in [full().to_html(), report("connect", |_, _| ()).to_html(), report("stream", |_, _| ()).to_html()] {
        assert_eq!(check_markup(&page), Ok(()));
        for outside in ["http", "src=", "href=", "url(", "@import", "<script", "NaN", "inf"] {
            assert!(!page.contains(outside), "{outside}");
        }
    }
}

#[test]
fn a_page_has_a_chart_and_a_table_for_everything_measured() {
    let page = full().to_html();
    for title in ["Latency by percentile", "Throughput over time", "Latency over time", "Broker CPU", "Broker memory"] {
        assert!(page.contains(title), "{title}");
    }
    assert_eq!(page.matches("role=\"img\"").count(), 5);
    assert_eq!(page.matches("<desc ").count(), 5);
    assert!(page.contains("<td>replay</td><td>4,000 messages</td><td>0.500</td><td>8,000</td>"));
    assert!(page.contains("<td>0.10 to 0.20</td><td>100</td><td>100</td><td>–</td>"));
    assert!(page.contains("<td>payload_bytes</td><td>64</td>") && page.contains("<td>warmup</td><td>1s</td>"));
}

#[test]
fn a_run_without_latency_says_so_instead_of_an_empty_chart() {
    let connect = report("connect", |_, _| ()).to_html();
    assert!(connect.contains("Nothing is published") && !connect.contains("role=\"img\""));
    let silent = report("stream", |_, _| ()).to_html();
    assert!(silent.contains("No message was due and delivered"));
}

#[test]
fn a_verdict_is_told_in_words() {
    assert!(full().to_html().contains("<strong>PASS</strong>"));
    let failed = report("stream", |_, outcome| {
        outcome.harvest.tally.lost = 3;
        outcome.harvest.notes.push("subscriber 0: <gone>".to_owned());
    });
    let page = failed.to_html();
    assert!(page.contains("<strong>FAIL</strong>") && page.contains("3 lost") && page.contains("&lt;gone&gt;"));
    let missed = report("stream", |scenario, outcome| (scenario.rate, outcome.harvest.unsent) = (9_000, 1_234));
    assert_eq!((missed.passed, missed.integrity_passed, missed.rate_reached), (false, true, Some(false)));
    let page = missed.to_html();
    assert!(page.contains("<strong>RATE NOT REACHED</strong>") && page.contains("1,234 messages were due"));
    assert!(missed.to_string().contains("NOT REACHED: 1,234"), "{missed}");
}

#[test]
fn hostile_names_stay_text() {
    let mut report = full();
    let hostile = "\"><script>alert('x')</script>&\u{7}";
    report.setting.scenario = hostile.to_owned();
    report.setting.broker = hostile.to_owned();
    report.scenario.about = hostile.to_owned();
    report.scenario.topic = hostile.to_owned();
    report.conditions.command_line = hostile.to_owned();
    report.conditions.host.cpu = hostile.to_owned();
    report.notes.push(hostile.to_owned());
    report.phases[0].name = hostile.to_owned();
    let page = report.to_html();
    assert_eq!(check_markup(&page), Ok(()));
    assert!(!page.contains("<script") && !page.contains('\u{7}') && page.contains("&lt;script&gt;alert(&#39;x&#39;)"));
}

#[test]
fn numbers_carry_the_unit_that_suits_them() {
    let times = [(0.0, "0 µs"), (250.0, "250 µs"), (2_000.0, "2 ms"), (31_195.0, "31.2 ms"), (2e6, "2 s")];
    times.iter().for_each(|(us, text)| assert_eq!(time(*us), *text));
    let rates = [(0.0, "0/s"), (500_000.0, "500 k/s"), (1_500_000.0, "1.5 M/s")];
    rates.iter().for_each(|(per_sec, text)| assert_eq!(rate(*per_sec), *text));
    assert_eq!((number(0.600_000_000_000_000_1).as_str(), number(20.0).as_str()), ("0.6", "20"));
}
