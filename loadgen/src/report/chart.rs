//! A line chart as SVG: round ticks with units, lines with gaps where nothing is known, words for who cannot see it.
//! Must not know what the numbers mean. Neighbour: `html` places it in the page, whose style sheet has its colours.

use std::fmt::Write;

/// Size of the drawing in its own units, which are about pixels.
const SIZE: (f64, f64) = (480.0, 260.0);

/// The area between the axes: left, top, right, bottom.
const AREA: (f64, f64, f64, f64) = (66.0, 12.0, 450.0, 224.0);

/// Most ticks of a linear axis, its origin not counted.
const STEPS_MAX: f64 = 5.0;

/// Values further apart than this need a logarithmic axis.
const LINEAR_RATIO_MAX: f64 = 100.0;

/// What an axis shows: a range, and the ticks in it with their labels, ascending.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Axis {
    from: f64,
    to: f64,
    logarithmic: bool,
    ticks: Vec<(f64, String)>,
}

impl Axis {
    /// From 0 to a round number that is at least `max`.
    pub(super) fn linear(max: f64, label: impl Fn(f64) -> String) -> Self {
        let max = if max > 0.0 && max.is_finite() { max } else { 1.0 };
        let step = round_up(max / STEPS_MAX);
        let count = (max / step - 1e-9).ceil() as u32;
        let ticks = (0..=count).map(|number| (f64::from(number) * step, label(f64::from(number) * step)));
        Self { from: 0.0, to: f64::from(count) * step, logarithmic: false, ticks: ticks.collect() }
    }

    /// From 0 to just `end`, which need not be round: for time.
    pub(super) fn until(end: f64, label: impl Fn(f64) -> String) -> Self {
        let mut axis = Self::linear(end, label);
        axis.to = if end > 0.0 { end } else { axis.to };
        // A window is a hair shorter or longer than asked for; its last round number belongs to it.
        axis.ticks.retain(|tick| tick.0 <= axis.to * 1.005);
        axis
    }

    /// Linear, or logarithmic if the values lie more than two decades apart. A logarithmic axis cannot show 0.
    pub(super) fn fitting(values: impl Iterator<Item = f64> + Clone, label: impl Fn(f64) -> String) -> Self {
        let max = values.clone().fold(0.0, f64::max);
        let min = values.filter(|&value| value > 0.0).fold(max, f64::min);
        if min <= 0.0 || max / min <= LINEAR_RATIO_MAX {
            return Self::linear(max, label);
        }
        let (from, to) = (round_down(min), round_up(max));
        let first = from.log10().ceil() as i32;
        let last = (to.log10() + 1e-9).floor() as i32;
        let stride = (last - first) as usize / 6 + 1;
        let ticks = (first..=last).step_by(stride).map(|power| (10f64.powi(power), label(10f64.powi(power))));
        Self { from, to, logarithmic: true, ticks: ticks.collect() }
    }

    /// A range with given ticks.
    pub(super) fn with_ticks(ticks: Vec<(f64, String)>) -> Self {
        let (from, to) = (ticks.first().map_or(0.0, |tick| tick.0), ticks.last().map_or(1.0, |tick| tick.0));
        Self { from, to, logarithmic: false, ticks }
    }

    /// Where a value lies, 0 at the beginning of the axis and 1 at its end; values outside lie on the border.
    fn place(&self, value: f64) -> f64 {
        let scale = |value: f64| if self.logarithmic { value.max(self.from).log10() } else { value };
        ((scale(value) - scale(self.from)) / (scale(self.to) - scale(self.from))).clamp(0.0, 1.0)
    }
}

/// The smallest of 1, 2, 5 times a power of ten that is at least `value`, which is above 0.
fn round_up(value: f64) -> f64 {
    let power = 10f64.powi(value.log10().floor() as i32);
    let times = [1.0, 2.0, 5.0].into_iter().find(|times| value <= times * power * (1.0 + 1e-9));
    times.unwrap_or(10.0) * power
}

/// The largest of 1, 2, 5 times a power of ten that is at most `value`, which is above 0.
fn round_down(value: f64) -> f64 {
    let power = 10f64.powi(value.log10().floor() as i32);
    let times = [5.0, 2.0].into_iter().find(|times| value >= times * power * (1.0 - 1e-9));
    times.unwrap_or(1.0) * power
}

/// A line; its colour and dashes follow from its place among the others.
#[derive(Clone, Debug)]
pub(super) struct Series {
    pub(super) name: &'static str,
    /// Ascending by the first; `None` is a gap.
    pub(super) points: Vec<(f64, Option<f64>)>,
}

/// A chart of at most three lines.
#[derive(Clone, Debug)]
pub(super) struct Chart {
    /// Unique in the page, letters only.
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    /// What can be seen in it, in a sentence.
    pub(super) description: String,
    pub(super) x: Axis,
    pub(super) y: Axis,
    /// What the x axis shows.
    pub(super) x_name: &'static str,
    pub(super) series: Vec<Series>,
}

impl Chart {
    /// The drawing; all texts are escaped with `escape`.
    pub(super) fn to_svg(&self, escape: impl Fn(&str) -> String) -> String {
        let (width, height) = SIZE;
        let id = self.id;
        let mut out = format!(
            "<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-labelledby=\"{id}-title {id}-desc\">\n\
             <title id=\"{id}-title\">{}</title>\n<desc id=\"{id}-desc\">{}</desc>\n",
            escape(self.title),
            escape(&self.description)
        );
        self.draw_axes(&mut out, &escape);
        for (number, series) in self.series.iter().enumerate() {
            self.draw_line(&mut out, number, series);
        }
        out.push_str("</svg>\n");
        out
    }

    fn draw_axes(&self, out: &mut String, escape: &impl Fn(&str) -> String) {
        let (left, top, right, bottom) = AREA;
        for (value, label) in &self.y.ticks {
            let y = self.y_of(*value);
            put(out, &format!("<line class=\"grid\" x1=\"{left}\" y1=\"{y:.1}\" x2=\"{right}\" y2=\"{y:.1}\"/>"));
            let text = escape(label);
            let (x, y) = (left - 7.0, y + 4.0);
            put(out, &format!("<text class=\"tick\" x=\"{x}\" y=\"{y:.1}\" text-anchor=\"end\">{text}</text>"));
        }
        for (value, label) in &self.x.ticks {
            let x = self.x_of(*value);
            let (end, below) = (bottom + 4.0, bottom + 17.0);
            put(out, &format!("<line class=\"grid\" x1=\"{x:.1}\" y1=\"{top}\" x2=\"{x:.1}\" y2=\"{end}\"/>"));
            let text = escape(label);
            put(out, &format!("<text class=\"tick\" x=\"{x:.1}\" y=\"{below}\" text-anchor=\"middle\">{text}</text>"));
        }
        put(out, &format!("<path class=\"axis\" d=\"M{left} {top}V{bottom}H{right}\"/>"));
        let (middle, below) = ((left + right) / 2.0, SIZE.1 - 4.0);
        let name = escape(self.x_name);
        put(out, &format!("<text class=\"name\" x=\"{middle}\" y=\"{below}\" text-anchor=\"middle\">{name}</text>"));
    }

    /// Stretches between gaps become lines; a point alone becomes a dot.
    fn draw_line(&self, out: &mut String, number: usize, series: &Series) {
        for stretch in series.points.split(|point| point.1.is_none()) {
            let places: Vec<_> = stretch.iter().filter_map(|&(x, y)| Some((self.x_of(x), self.y_of(y?)))).collect();
            match &places[..] {
                [] => (),
                [(x, y)] => put(out, &format!("<circle class=\"dot s{number}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"/>")),
                places => {
                    let points: Vec<_> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
                    put(out, &format!("<polyline class=\"line s{number}\" points=\"{}\"/>", points.join(" ")));
                }
            }
        }
    }

    fn x_of(&self, value: f64) -> f64 {
        AREA.0 + (AREA.2 - AREA.0) * self.x.place(value)
    }

    fn y_of(&self, value: f64) -> f64 {
        AREA.3 - (AREA.3 - AREA.1) * self.y.place(value)
    }
}

fn put(out: &mut String, line: &str) {
    // A string takes all text.
    let _ = writeln!(out, "{line}");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|tick| tick.1.as_str()).collect()
    }

    fn plain(value: f64) -> String {
        value.to_string()
    }

    #[test]
    fn linear_ticks_are_round_and_reach_the_largest_value() {
        assert_eq!(labels(&Axis::linear(9.3, plain)), ["0", "2", "4", "6", "8", "10"]);
        assert_eq!(labels(&Axis::linear(100.0, plain)), ["0", "20", "40", "60", "80", "100"]);
        assert_eq!(labels(&Axis::linear(0.0, plain)), ["0", "0.2", "0.4", "0.6000000000000001", "0.8", "1"]);
    }

    #[test]
    fn a_time_axis_ends_with_the_time() {
        let axis = Axis::until(3.01, plain);
        assert_eq!((labels(&axis), axis.to), (vec!["0", "1", "2", "3"], 3.01));
    }

    #[test]
    fn values_over_more_than_two_decades_get_a_logarithmic_axis_of_decades() {
        let axis = Axis::fitting([30.0, 3_100.0, 400_000.0].into_iter(), plain);
        assert_eq!(labels(&axis), ["100", "1000", "10000", "100000"]);
        assert_eq!((axis.from, axis.to, axis.place(20.0), axis.place(500_000.0)), (20.0, 500_000.0, 0.0, 1.0));
        assert!(!Axis::fitting([30.0, 3_000.0].into_iter(), plain).logarithmic);
        assert!(!Axis::fitting(std::iter::empty(), plain).logarithmic);
        assert!(!Axis::fitting([0.0, 0.0].into_iter(), plain).logarithmic);
    }

    #[test]
    fn a_gap_breaks_the_line_and_a_lonely_point_is_a_dot() {
        let points = vec![(0.0, Some(1.0)), (1.0, Some(2.0)), (2.0, None), (3.0, Some(1.0)), (4.0, None)];
        let chart = Chart {
            id: "c",
            title: "a <b>",
            description: String::new(),
            x: Axis::until(4.0, plain),
            y: Axis::linear(2.0, plain),
            x_name: "time",
            series: vec![Series { name: "one", points }],
        };
        let svg = chart.to_svg(|text| text.replace('<', "&lt;"));
        assert_eq!((svg.matches("<polyline").count(), svg.matches("<circle").count()), (1, 1));
        assert!(svg.contains("points=\"66.0,118.0 162.0,12.0\"") && svg.contains("a &lt;b>"), "{svg}");
    }

    proptest! {
        /// Few ticks, all inside, evenly spread, none so close to the next that their labels touch.
        #[test]
        fn ticks_are_few_and_apart(exponent in -6.0f64..12.0, spread in 0.0f64..9.0) {
            let max = 10f64.powf(exponent);
            for axis in [
                Axis::linear(max, plain),
                Axis::until(max, plain),
                Axis::fitting([max, max / 10f64.powf(spread)].into_iter(), plain),
            ] {
                prop_assert!((2..=8).contains(&axis.ticks.len()), "{axis:?}");
                prop_assert!(axis.to >= max * (1.0 - 1e-6) && axis.to <= max * 2.6);
                let places: Vec<_> = axis.ticks.iter().map(|tick| axis.place(tick.0)).collect();
                prop_assert!(places.windows(2).all(|pair| pair[1] - pair[0] > 0.08), "{places:?}");
            }
        }

        /// A larger value never lies lower.
        #[test]
        fn places_keep_the_order(mut values in proptest::collection::vec(1e-3f64..1e9, 2..20)) {
            values.sort_by(f64::total_cmp);
            let axis = Axis::fitting(values.iter().copied(), plain);
            prop_assert!(values.windows(2).all(|pair| axis.place(pair[0]) <= axis.place(pair[1])));
        }
    }
}
