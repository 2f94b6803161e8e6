"""Medians, windows, FAIL and phases."""

import unittest

from bench import generator, results
from bench.tests import samples


def entry(runs, broker):
    return results.summarize(runs)[0]["brokers"][broker]


class Results(unittest.TestCase):
    def test_the_median_stands_with_the_smallest_and_the_largest(self):
        found = entry([samples.run("ringmq", cpu_us=us) for us in (5.0, 1.0, 2.0)], "ringmq")
        self.assertEqual(found["figures"]["cpu_us"], {"median": 2.0, "min": 1.0, "max": 5.0})
        self.assertEqual(found["figures"]["rss_mib"]["median"], 8.0)

    def test_one_failed_run_leaves_no_number(self):
        runs = [samples.run("ringmq"), samples.run("ringmq", fault="3 lost", passed=False, lost=3)]
        found = entry(runs, "ringmq")
        self.assertEqual((found["figures"], found["failed"]), ({}, "1 of 2 runs: 3 lost"))

    def test_a_run_without_a_report_is_a_failed_run(self):
        run = samples.run("ringmq", fault="the broker ended with 1: no")
        run["report"] = None
        self.assertIn("ended with 1", entry([run], "ringmq")["failed"])

    def test_on_one_core_each_broker_is_shown_with_the_window_that_costs_it_least_cpu(self):
        wide = [samples.run(broker, cpu_us=us) for broker, us in (("mosquitto", 9.0), ("ringmq", 1.0))]
        small = [samples.run(broker, cpu_us=us, window=500) for broker, us in (("mosquitto", 7.0), ("ringmq", 2.0))]
        row = results.summarize(wide + small)[0]["brokers"]
        self.assertEqual((row["mosquitto"]["window"], row["ringmq"]["window"]), (500, None))

    def test_on_all_cores_the_window_with_most_messages_counts(self):
        runs = [samples.run("ringmq", setting="total", window=window, per_sec=rate) for window, rate in ((None, 5.0), (500, 9.0))]
        self.assertEqual(entry(runs, "ringmq")["window"], 500)

    def test_a_staged_scenario_has_a_row_for_each_phase(self):
        phases = [{"name": name, "unit": "message", "per_sec": 5.0, "broker_cpu_us_each": 2.0, "broker_rss_bytes_each": 1.0} for name in "ab"]
        rows = results.summarize([samples.run("ringmq", phases=phases), samples.run("other", fault="1 lost", passed=False)])
        self.assertEqual([row["phase"] for row in rows], ["a", "b"])
        self.assertTrue(all(row["brokers"]["other"]["failed"] for row in rows))

    def test_a_rate_missed_once_is_marked_and_a_limited_generator_when_it_mostly_was(self):
        runs = [samples.run("ringmq", unsent=count, limited=limited) for count, limited in ((0, True), (9, False), (0, False))]
        self.assertEqual(entry(runs, "ringmq")["marks"], ["unsent"])

    def test_ciphers_are_told_and_whether_they_are_the_same(self):
        new, old = ({"version": version, "cipher": cipher} for version, cipher in (("1.3", "TLS_A"), ("1.2", "TLS_B")))
        runs = [samples.run("mosquitto", tls=new), samples.run("ringmq", tls=new), samples.run("ringmq")]
        self.assertEqual(results.tls_of(runs), ("1.3 TLS_A: mosquitto, ringmq", True))
        self.assertEqual(results.tls_of(runs + [samples.run("other", tls=old)]), ("1.3 TLS_A: mosquitto, ringmq; 1.2 TLS_B: other", False))
        self.assertIsNone(results.tls_of([samples.run("ringmq")]))

    def test_a_fault_names_its_counts(self):
        self.assertEqual(generator.fault_of(samples.report(passed=False, lost=1234)), "1,234 lost")
        self.assertIsNone(generator.fault_of(samples.report()))

    def test_connections_that_only_stay_are_counted_once_for_their_opening(self):
        phases = [
            {"name": name, "unit": "connections", "per_sec": 200.0, "broker_cpu_us_each": 20.0, "broker_rss_bytes_each": 700.0}
            for name in ("connect", "idle")
        ]
        (found,) = generator.readings_of(samples.report(phases=phases))
        self.assertEqual((found["phase"], found["figures"]), ("connect", {"cpu_us": 20.0, "per_sec": 200.0, "rss_bytes": 700.0}))
