//! The report as one page: style and drawings inside it, no script, nothing from elsewhere, every text escaped.
//! Must not compute more than a unit. Neighbours: `report` fills it, `chart` draws, `style.css` has the colours.

use serde_json::Value;

use super::chart::{Axis, Chart, Series};
use super::{IntervalReport, Report, Verdict, grouped};

/// Percentiles that have a tick, with their place: each step to the right is a tenth of the rest.
const PERCENTILES: [(f64, &str); 7] = [
    // Its label would touch the next one, and says nothing.
    (0.0, ""),
    (50.0, "50 %"),
    (90.0, "90 %"),
    (99.0, "99 %"),
    (99.9, "99.9 %"),
    (99.99, "99.99 %"),
    (99.999, "99.999 %"),
];

/// The page.
pub(super) fn page(report: &Report) -> String {
    let title = format!("{} on {}", report.setting.scenario, report.setting.broker);
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{}: {}</title>\n<style>\n{}</style>\n</head>\n<body>\n<main>\n<h1>{0}</h1>\n<p class=\"soft\">{}</p>\n",
        escape(&title),
        headline(report.verdict),
        include_str!("style.css"),
        escape(&report.scenario.about)
    );
    out += &verdict(report);
    if report.generator.limited {
        out += "<p class=\"caution\"><strong>The generator was the limit</strong>, not the broker: it had no time left and \
                the broker had. Use more <code>--threads</code>, or read the rate as a lower bound.</p>\n";
    }
    out += &figures(report);
    out += &phases_section(report);
    // A staged run has no window in which messages are due: its phases are all there is.
    if report.scenario.stage.is_none() {
        out += &latency_section(report);
        out += &time_section(report);
    }
    out += &conditions_section(report);
    out += "</main>\n</body>\n</html>\n";
    out
}

fn headline(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "PASS",
        Verdict::RateMissed => "RATE NOT REACHED",
        Verdict::Fail => "FAIL",
    }
}

fn verdict(report: &Report) -> String {
    let class = match report.verdict {
        Verdict::Pass => "verdict",
        Verdict::RateMissed => "verdict rate_missed",
        Verdict::Fail => "verdict fail",
    };
    let count = |count: u64| grouped(count as f64);
    let counts =
        format!("{} sent, {} of {} deliveries", count(report.sent), count(report.arrived), count(report.expected));
    let integrity = match (report.integrity_passed, report.expected) {
        (true, 0) => "Integrity: every connection was held and answered at the end.".to_owned(),
        (true, _) => format!("Integrity: every message arrived exactly once, in order and unaltered ({counts})."),
        (false, _) => format!("Integrity: {} ({counts}).", report.faults().join(", ")),
    };
    let mut lines = vec![integrity];
    match report.rate_reached {
        Some(true) => lines.push(format!("Rate: {} messages/s reached.", count(report.setting.rate))),
        Some(false) => {
            lines.push(format!("Rate: {} messages/s not reached; {}.", count(report.setting.rate), report.shortfall()));
        }
        None => (),
    }
    lines.extend(report.notes.iter().cloned());
    let items: String = lines.iter().map(|line| format!("<li>{}</li>\n", escape(line))).collect();
    format!("<div class=\"{class}\"><strong>{}</strong>\n<ul>\n{items}</ul></div>\n", headline(report.verdict))
}

fn figures(report: &Report) -> String {
    let mut figures = Vec::new();
    if report.setting.publishers > 0 {
        figures.push(("Delivered", grouped(report.delivered_per_sec), "messages/s"));
        if report.scenario.stage.is_none() {
            figures.push(("Published", grouped(report.published_per_sec), "messages/s"));
        }
    } else {
        figures.push(("Connections", grouped(f64::from(report.setting.connections)), "idle"));
    }
    let latency = report.latency.map(|latency| {
        [("Median latency", latency.p50_us), ("99 % latency", latency.p99_us), ("Largest latency", latency.max_us)]
    });
    for (name, us) in latency.iter().flatten() {
        figures.push((name, grouped(*us), "µs"));
    }
    if let Some(broker) = &report.broker {
        if let Some(us) = broker.cpu_us_per_message {
            figures.push(("Broker CPU", format!("{us:.2}"), "µs per delivery"));
        }
        figures.push(("Broker CPU", format!("{:.1} %", broker.cpu_cores * 1e2), "of a core"));
        figures.push(("Broker memory", format!("{:.1}", mib(broker.rss_end_bytes as f64)), "MiB at the end"));
        if let Some(bytes) = broker.rss_bytes_per_connection {
            figures.push(("Broker memory", grouped(bytes), "B per connection"));
        }
    }
    figures.push(("Setup", format!("{:.3}", report.setup_secs), "s"));
    figures.push(("Generator", format!("{:.0} %", report.generator.busy_share_max * 1e2), "busy"));
    let figure = |(name, value, unit): &(&str, String, &str)| {
        format!("<div><dt>{name}</dt><dd>{value} <small>{unit}</small></dd></div>\n")
    };
    let cards: String = figures.iter().map(figure).collect();
    format!("<dl class=\"figures\">\n{cards}</dl>\n")
}

/// Where a percentile lies on an axis on which each step to the right is a tenth of the rest.
fn percentile_place(percentile: f64) -> f64 {
    -(1.0 - percentile / 1e2).log10()
}

fn latency_section(report: &Report) -> String {
    let Some(latency) = report.latency else {
        let nothing = if report.setting.publishers > 0 {
            "No message was due and delivered in the measured window, so there is no latency."
        } else {
            "Nothing is published in this scenario, so there is no latency."
        };
        return format!("<h2>Latency</h2>\n<p>{nothing}</p>\n");
    };
    // As far to the right as the deliveries can tell: a hundred of them know no 99.9 %.
    let digits = (latency.count as f64).log10().floor().clamp(1.0, 5.0);
    let known = PERCENTILES.iter().filter(|known| percentile_place(known.0) <= digits + 1e-6);
    let points = report.latency_curve.iter().filter(|point| percentile_place(point.percentile) <= digits + 1e-6);
    let points: Vec<_> = points.map(|point| (percentile_place(point.percentile), Some(point.latency_us))).collect();
    let values = points.iter().filter_map(|point| point.1);
    let cells = latency.cells().map(|(name, us)| vec![name.to_owned(), grouped_us(Some(us))]);
    let chart = Chart {
        id: "percentiles",
        title: "Latency by percentile",
        description: format!(
            "Latency rises from {} at the median to {} at 99 % and {} at most.",
            time(latency.p50_us),
            time(latency.p99_us),
            time(latency.max_us)
        ),
        x: Axis::with_ticks(known.map(|known| (percentile_place(known.0), known.1.to_owned())).collect()),
        y: Axis::fitting(values, time),
        x_name: "share of the deliveries that were at most as late",
        series: vec![Series { name: "latency", points }],
    };
    let curve = report.latency_curve.iter();
    let curve = curve.map(|point| vec![format!("{:.5} %", point.percentile), grouped_us(Some(point.latency_us))]);
    format!(
        "<h2>Latency</h2>\n<div class=\"charts\">\n{}<div>{}</div>\n</div>\n{}",
        figure(&chart),
        table(
            &format!("End-to-end latency of {} deliveries", grouped(latency.count as f64)),
            &["Percentile", "Latency, µs"],
            cells.into_iter()
        ),
        details("All points of the percentile curve", &table("", &["Percentile", "Latency, µs"], curve))
    )
}

fn figure(chart: &Chart) -> String {
    let entry = |(number, series): (usize, &Series)| {
        format!(
            "<li><svg viewBox=\"0 0 28 10\" aria-hidden=\"true\"><path class=\"line s{number}\" d=\"M0 5H28\"/></svg>{}</li>\n",
            series.name
        )
    };
    let legend: String = chart.series.iter().enumerate().map(entry).collect();
    let legend = if chart.series.len() > 1 { format!("<ul class=\"legend\">\n{legend}</ul>\n") } else { String::new() };
    let caption = escape(&chart.description);
    format!(
        "<figure>\n<h3>{}</h3>\n{legend}{}<figcaption>{caption}</figcaption>\n</figure>\n",
        chart.title,
        chart.to_svg(escape)
    )
}

/// What a line shows of each step; `None` is a gap.
type Reading<'r> = dyn Fn(&IntervalReport) -> Option<f64> + 'r;

/// A chart over the measured window; `None` when no line has a point.
fn over_time(
    report: &Report,
    (id, title): (&'static str, &'static str),
    description: String,
    axis: impl FnOnce(&[f64]) -> Axis,
    lines: Vec<(&'static str, &Reading<'_>)>,
) -> Option<String> {
    let middle = |step: &IntervalReport| (step.from_secs + step.to_secs) / 2.0;
    let points = |value: &Reading<'_>| report.timeline.iter().map(|step| (middle(step), value(step))).collect();
    let series: Vec<_> = lines.iter().map(|&(name, value)| Series { name, points: points(value) }).collect();
    let values: Vec<_> = series.iter().flat_map(|series| &series.points).filter_map(|point| point.1).collect();
    if values.is_empty() {
        return None;
    }
    let y = axis(&values);
    let x = Axis::until(report.window_secs, |secs| format!("{} s", number(secs)));
    Some(figure(&Chart { id, title, description, x, y, x_name: "time in the measured window", series }))
}

fn greatest(values: &[f64]) -> f64 {
    values.iter().copied().fold(0.0, f64::max)
}

fn time_section(report: &Report) -> String {
    let traffic = report.setting.publishers > 0;
    let span = |name: &str, unit: &str, scale: f64, value: &Reading<'_>| {
        let values = report.timeline.iter().filter_map(value);
        let (low, high) = values.fold((f64::MAX, 0f64), |(low, high), value| (low.min(value), high.max(value)));
        let (low, high) = (grouped(low * scale), grouped(high * scale));
        if low == high {
            format!("{name} {low}{unit} in every step.")
        } else {
            format!("{name} between {low} and {high}{unit} per step.")
        }
    };
    let delivered = |step: &IntervalReport| Some(step.delivered_per_sec).filter(|_| traffic);
    let published = |step: &IntervalReport| Some(step.published_per_sec).filter(|_| traffic);
    let cpu = |step: &IntervalReport| step.broker_cpu_cores.map(|cores| cores * 1e2);
    let rss = |step: &IntervalReport| step.broker_rss_bytes.map(|bytes| mib(bytes as f64));
    let charts = [
        over_time(
            report,
            ("throughput", "Throughput over time"),
            span("Delivered", " messages/s", 1.0, &delivered),
            |values| Axis::linear(greatest(values), rate),
            vec![("delivered", &delivered), ("published", &published)],
        ),
        over_time(
            report,
            ("latency", "Latency over time"),
            span("Largest latency", " µs", 1.0, &|step| step.latency_max_us),
            |values| Axis::fitting(values.iter().copied(), time),
            vec![
                ("p50", &|step| step.latency_p50_us),
                ("p99", &|step| step.latency_p99_us),
                ("max", &|step| step.latency_max_us),
            ],
        ),
        over_time(
            report,
            ("cpu", "Broker CPU over time"),
            span("Broker CPU", " % of a core", 1.0, &cpu),
            |values| Axis::linear(greatest(values), |percent| format!("{} %", number(percent))),
            vec![("CPU", &cpu)],
        ),
        over_time(
            report,
            ("memory", "Broker memory over time"),
            span("Resident set", " MiB", 1.0, &rss),
            |values| Axis::linear(greatest(values), |mib| format!("{} MiB", number(mib))),
            vec![("resident set", &rss)],
        ),
    ];
    let charts: String = charts.into_iter().flatten().collect();
    if charts.is_empty() {
        return "<h2>Over time</h2>\n<p>Nothing was published, and without <code>--broker-pid</code> the broker was not \
                measured.</p>\n"
            .to_owned();
    }
    format!(
        "<h2>Over time</h2>\n<div class=\"charts\">\n{charts}</div>\n{}",
        details("The numbers behind these charts", &timeline(report))
    )
}

fn timeline(report: &Report) -> String {
    let heads = [
        "Time, s",
        "Delivered/s",
        "Published/s",
        "p50, µs",
        "p99, µs",
        "max, µs",
        "Broker CPU, % of a core",
        "Broker memory, MiB",
    ];
    let rows = report.timeline.iter().map(|step| {
        let percent = step.broker_cpu_cores.map(|cores| format!("{:.1}", cores * 1e2));
        let memory = step.broker_rss_bytes.map(|bytes| format!("{:.1}", mib(bytes as f64)));
        vec![
            format!("{:.2} to {:.2}", step.from_secs, step.to_secs),
            grouped(step.delivered_per_sec),
            grouped(step.published_per_sec),
            grouped_us(step.latency_p50_us),
            grouped_us(step.latency_p99_us),
            grouped_us(step.latency_max_us),
            percent.unwrap_or_else(unknown),
            memory.unwrap_or_else(unknown),
        ]
    });
    table("Latency is that of the messages that arrived in the step, two significant digits.", &heads, rows)
}

fn phases_section(report: &Report) -> String {
    if report.phases.is_empty() {
        return String::new();
    }
    let heads = ["Phase", "Count", "Seconds", "Per second", "Broker CPU, µs each", "Broker memory, B each"];
    let rows = report.phases.iter().map(|phase| {
        vec![
            phase.name.clone(),
            format!("{} {}", grouped(phase.count as f64), phase.unit),
            format!("{:.3}", phase.secs),
            phase.per_sec.map_or_else(unknown, grouped),
            phase.broker_cpu_us_each.map_or_else(unknown, |us| format!("{us:.3}")),
            phase.broker_rss_bytes_each.map_or_else(unknown, grouped),
        ]
    });
    format!("<h2>Phases</h2>\n{}", table("Each phase was measured by itself.", &heads, rows))
}

fn conditions_section(report: &Report) -> String {
    let (setting, conditions) = (&report.setting, &report.conditions);
    let host = &conditions.host;
    let placed = if setting.cpus.is_empty() { "as the kernel chose".to_owned() } else { format!("{:?}", setting.cpus) };
    let limit = if report.generator.limited { "yes" } else { "no" };
    let run = [
        ("Command line", conditions.command_line.clone()),
        ("Ended", format!("{} UTC", conditions.ended_utc)),
        ("Generator", format!("ringmq-loadgen {}", conditions.generator_version)),
        ("Broker", setting.broker.clone()),
        ("Broker process", report.broker.map_or("not measured".to_owned(), |broker| broker.pid.to_string())),
        ("Protocol", setting.protocol_name()),
        ("Threads", format!("{}, on CPUs {placed}", setting.threads)),
        ("Waiting", if setting.idle { "blocks while idle" } else { "polls without sleeping" }.to_owned()),
        ("Patience", format!("{} s", setting.patience_secs)),
        ("Measured window", format!("{:.3} s", report.window_secs)),
        ("Generator busy", format!("{:.1} % of the window (busiest thread)", report.generator.busy_share_max * 1e2)),
        ("Generator was the limit", limit.to_owned()),
        ("Host CPU", format!("{}, {} online", host.cpu, host.cores)),
        ("Host memory", format!("{:.1} GiB", host.memory_bytes as f64 / f64::from(1 << 30))),
        ("Host kernel", host.kernel.clone()),
    ];
    let run = run.into_iter().filter(|row| !row.1.is_empty()).map(|(name, value)| vec![name.to_owned(), value]);
    // A scenario is plain data; every field it has or will have is shown by its own name.
    let Ok(Value::Object(fields)) = serde_json::to_value(&report.scenario) else { return String::new() };
    let plain = |value: Value| match value {
        Value::String(text) => text,
        other => other.to_string(),
    };
    let is_set = |value: &Value| !matches!(value.to_string().as_str(), "null" | "0" | "[]" | "\"\"");
    let scenario = fields.into_iter().filter(|(_, value)| is_set(value)).map(|(name, value)| vec![name, plain(value)]);
    let how = if setting.rate > 0 {
        "Latency counts from the moment a message was due by the rate, however late the socket took it, to the receive call \
         that brought it."
    } else {
        "Latency counts from the moment a message was handed to its socket to the receive call that brought it. A new message \
         leaves when an earlier one has been delivered (a closed loop), so queues, and with them latency, follow from the \
         window; use <code>--rate</code> to measure latency at a given load."
    };
    format!(
        "<h2>Conditions</h2>\n<div class=\"charts conditions\">\n<div>{}</div>\n<div>{}</div>\n</div>\n\
         <h2>How latency is measured</h2>\n<p>{how} Sender and receiver are one process and read one clock. All deliveries of \
         messages due in the measured window count, also those that arrive after it; the time charts show those that arrived \
         within it. Percentiles have three significant digits.</p>\n",
        table("The run", &["What", "Value"], run),
        table("The scenario, with every flag applied", &["Parameter", "Value"], scenario)
    )
}

fn table(caption: &str, heads: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let heads: String = heads.iter().map(|head| format!("<th scope=\"col\">{}</th>", escape(head))).collect();
    let cell = |text: String| format!("<td>{}</td>", escape(&text));
    let row = |cells: Vec<String>| format!("<tr>{}</tr>\n", cells.into_iter().map(cell).collect::<String>());
    let rows: String = rows.map(row).collect();
    let caption = if caption.is_empty() { String::new() } else { format!("<caption>{}</caption>\n", escape(caption)) };
    format!(
        "<div class=\"scroll\"><table>\n{caption}<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table></div>\n"
    )
}

fn details(summary: &str, content: &str) -> String {
    format!("<details>\n<summary>{summary}</summary>\n{content}</details>\n")
}

fn unknown() -> String {
    "–".to_owned()
}

fn grouped_us(us: Option<f64>) -> String {
    us.map_or_else(unknown, grouped)
}

fn mib(bytes: f64) -> f64 {
    bytes / f64::from(1 << 20)
}

/// A number without needless digits: at most six, none of them a trailing zero of a fraction.
fn number(value: f64) -> String {
    let rounded = format!("{value:.6}").parse::<f64>().unwrap_or(value);
    rounded.to_string()
}

/// A duration given in microseconds, in the unit that suits it.
fn time(us: f64) -> String {
    let (value, unit) = match us {
        us if us >= 1e6 => (us / 1e6, "s"),
        us if us >= 1e3 => (us / 1e3, "ms"),
        us => (us, "µs"),
    };
    format!("{} {unit}", number((value * 100.0).round() / 100.0))
}

/// Messages per second in the unit that suits them.
fn rate(per_sec: f64) -> String {
    match per_sec {
        rate if rate >= 1e6 => format!("{} M/s", number(rate / 1e6)),
        rate if rate >= 1e3 => format!("{} k/s", number(rate / 1e3)),
        rate => format!("{}/s", number(rate)),
    }
}

/// Text that cannot become markup, in elements and in attributes. Control characters, which a page may not hold, are shown
/// as replacement characters.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            letter if letter.is_control() && letter != '\n' => out.push('\u{fffd}'),
            letter => out.push(letter),
        }
    }
    out
}

#[cfg(test)]
#[path = "html_tests.rs"]
mod tests;
