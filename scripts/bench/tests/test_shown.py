"""What a reader sees: rows, marks, FAIL, escapes, scales."""

import unittest

from bench import markup, page, plots, readme, results, tables
from bench.tests import samples


def table(runs):
    return tables.tables_of(results.summarize(runs), samples.latest(runs, [])["labels"])[0]


def texts(runs):
    return [cell.text for cell in table(runs).rows[0]]


def pair(mosquitto, ringmq, **fields):
    return [samples.run("mosquitto", **mosquitto, **fields), samples.run("ringmq", **ringmq, **fields)]


class Tables(unittest.TestCase):
    def test_a_row_has_the_brokers_side_by_side_and_what_is_gained(self):
        found = texts(pair({"cpu_us": 12.0, "per_sec": 1000.0}, {"cpu_us": 4.0, "per_sec": 5000.0}))
        self.assertEqual(found[:8], ["stream", "0", "12.000", "4.000", "3.0x", "1,000", "5,000", "5.0x"])
        self.assertEqual(found[8:], ["10 / 90", "10 / 90", "8.0", "8.0", "-"])

    def test_every_row_has_as_many_cells_as_the_head(self):
        runs = pair({}, {}) + [samples.run("peer")]
        for one in tables.tables_of(results.summarize(runs), samples.latest(runs, [])["labels"]):
            self.assertTrue(all(len(row) == len(one.head) for row in one.rows))

    def test_where_mosquitto_is_better_the_row_says_so_in_bold(self):
        found = table(pair({"cpu_us": 1.0}, {"cpu_us": 2.0}))
        self.assertIn("Ahead of ringmq", found.head)
        self.assertIn("**0.50x**", markup.markdown(found))
        self.assertIn("**mosquitto: CPU-us/msg**", markup.markdown(found))

    def test_a_peer_that_is_better_is_named_too(self):
        self.assertEqual(texts(pair({}, {}) + [samples.run("peer", per_sec=9e9)])[-1], "peer: msg/s")

    def test_the_floor_is_shown_and_beats_nobody(self):
        found = table([samples.run("floor", cpu_us=0.1)] + pair({"cpu_us": 4.0}, {"cpu_us": 2.0}))
        self.assertEqual(found.rows[0][found.head.index("CPU-us/msg: gain of floor")].text, "40.0x")
        self.assertEqual(found.rows[0][-1].text, "-")
        self.assertEqual(results.reference(["floor", "peer"]), "peer")

    def test_who_did_not_run_in_a_table_has_no_column(self):
        phases = [{"name": "a", "unit": "message", "per_sec": 5.0, "broker_cpu_us_each": 2.0, "broker_rss_bytes_each": 1.0}]
        runs = [samples.run("floor")] + pair({}, {}, scenario="retain", phases=phases)
        core, staged = tables.tables_of(results.summarize(runs), samples.latest(runs, [])["labels"])
        self.assertEqual([any("floor" in title for title in one.head) for one in (core, staged)], [True, False])

    def test_a_failed_broker_is_no_winner_and_has_no_number(self):
        found = table(pair({"cpu_us": 1.0, "fault": "2 lost"}, {"cpu_us": 5.0}))
        row = [cell.text for cell in found.rows[0]]
        self.assertEqual((row[2], row[4], row[-1]), ("FAIL", "-", "-"))
        self.assertIn("FAIL stream QoS 0, mosquitto: 1 of 1 runs: 2 lost", found.notes)

    def test_where_only_ringmq_failed_the_other_is_ahead(self):
        self.assertEqual(texts(pair({}, {"fault": "2 lost"}))[-1], "mosquitto: ringmq failed")

    def test_marks_have_notes(self):
        found = table(pair({"unsent": 5}, {"limited": True}))
        row = [cell.text for cell in found.rows[0]]
        self.assertEqual((row[5], row[6], row[8]), ("1,000 †", "1,000 *", "10 † / 90 †"))
        self.assertEqual([note[0] for note in found.notes], ["g", "*", "†"])

    def test_a_given_rate_is_no_gain(self):
        self.assertEqual(texts(pair({"per_sec": 1.0}, {"per_sec": 2.0}, rate=5))[7], "-")

    def test_runs_that_overlap_may_be_chance(self):
        runs = pair({"cpu_us": 1.0}, {"cpu_us": 2.0}) + pair({"cpu_us": 4.0}, {"cpu_us": 3.0})
        self.assertEqual(texts(runs)[4], "1.00x ~")

    def test_on_all_cores_the_shards_are_set_against_one(self):
        labels = (("mosquitto", 1.0), ("ringmq, 1 shard", 4.0), ("ringmq, 2 shards", 7.0))
        found = texts([samples.run(label, setting="total", per_sec=rate) for label, rate in labels])
        self.assertEqual(found[2:], ["1", "4", "7", "7.0x", "1.75x", "-"])


class Markup(unittest.TestCase):
    def test_markdown_letters_of_a_fault_are_escaped(self):
        self.assertEqual(markup.escape_markdown("a|b*c<d\ne"), "a\\|b\\*c\\<d e")

    def test_nothing_from_outside_becomes_html(self):
        runs = pair({"fault": "<script>alert(1)</script>"}, {}) + [samples.run("<i>peer")]
        text = page.as_html(samples.latest(runs, results.summarize(runs)))
        for bad in ("<script", "<i>", "<b>", "x < y"):
            self.assertNotIn(bad, text)
        self.assertIn("&lt;i&gt;peer", text)

    def test_the_page_needs_nothing_from_outside(self):
        runs = pair({}, {})
        text = page.as_html(samples.latest(runs, results.summarize(runs)))
        for word in ("http:", "https:", "src=", "@import", "url("):
            self.assertNotIn(word, text)

    def test_the_readme_keeps_what_is_around_the_marks(self):
        text = f"before\n{readme.BEGIN}\nold\n{readme.END}\nafter\n"
        self.assertEqual(readme.replaced(text, "new\n"), f"before\n{readme.BEGIN}\nnew\n{readme.END}\nafter\n")
        with self.assertRaises(ValueError):
            readme.replaced("no marks", "new")

    def test_the_readme_quotes_command_and_conditions(self):
        runs = pair({}, {})
        block = readme.block_of(samples.latest(runs, results.summarize(runs)))
        self.assertIn("```sh\nscripts/compare\n```", block)
        self.assertIn("2026-01-01", block)


class Plots(unittest.TestCase):
    def test_a_power_of_ten_is_as_wide_as_the_next(self):
        scale = plots.LogScale([0.2, 15.0], 300)
        self.assertEqual(scale.ticks(), [0.1, 1.0, 10.0, 100.0])
        self.assertEqual([round(scale.at(value), 6) for value in (0.1, 1, 10, 100)], [0, 100, 200, 300])

    def test_every_value_has_a_bar_and_stays_inside(self):
        scale = plots.LogScale([1.0, 1000.0], 300)
        self.assertGreater(scale.at(1.0), 0)
        self.assertEqual((scale.at(1000.0), scale.at(0), scale.at(1e9)), (300, 0, 300))

    def test_values_are_short(self):
        shown = [plots.short(value) for value in (0.208, 24.03, 152, 1234, 78_620, 4_724_125)]
        self.assertEqual(shown, ["0.21", "24.0", "152", "1234", "78.6 k", "4.72 M"])

    def test_fail_stands_in_place_of_a_bar(self):
        runs = pair({"fault": "2 lost"}, {})
        drawn = plots.plot(tables.CPU, "CPU", results.summarize(runs), ["mosquitto", "ringmq"], "")
        self.assertIn("FAIL, 1 of 1 runs: 2 lost", drawn)
        self.assertEqual(drawn.count("<rect"), 1)

    def test_a_broker_keeps_its_colour_in_every_section(self):
        total = ["mosquitto", "peer", "ringmq, 1 shard", "ringmq, 2 shards"]
        self.assertEqual([plots.colour_of(label, total) for label in total], [0, 2, 3, 1])
        self.assertEqual(plots.colour_of("ringmq", ["mosquitto", "peer", "ringmq"]), 1)
        self.assertEqual((len(page.COLOURS_LIGHT), len(page.COLOURS_DARK)), (plots.COLOURS, plots.COLOURS))
