"""Goals: what is reached is said by ratio, and what cannot be said is not."""

import os
import unittest

from bench import cells, goals, results
from bench.tests import samples

PATH = os.path.join(os.path.dirname(__file__), "../../../docs/benchmarks/goals.tsv")


def goal(**fields):
    plain = {"shape": "s", "scenario": "stream", "qos": "0", "phase": "-", "metric": "cpu_us", "goal": "0.5", "ratio": "10"}
    return goals.goal_of(plain | fields)


def line(one, *runs):
    table = goals.table_of([one], results.summarize(list(runs)), list(dict.fromkeys(run["broker"] for run in runs)))
    return {title: cell.text for title, cell in zip(table.head, table.rows[0])}


class Goals(unittest.TestCase):
    def test_a_line_has_goal_figure_and_the_distance_to_everybody(self):
        costs = {"mosquitto": 8.0, "rumqttd": 2.0, "floor": 0.25, "ringmq": 0.5}
        found = line(goal(), *(samples.run(label, cpu_us=us) for label, us in costs.items()))
        self.assertEqual([found[name] for name in ("Goal", "Goal x mosquitto", "ringmq")], ["≤ 0.5", "10x", "0.500"])
        self.assertEqual([found[name] for name in ("x mosquitto", "x rumqttd", "of the floor")], ["16.0x", "4.0x", "2.0x"])
        self.assertEqual(found["Reached"], "yes")

    def test_the_ratio_decides_and_not_the_machine(self):
        self.assertEqual(line(goal(), samples.run("mosquitto", cpu_us=80.0), samples.run("ringmq", cpu_us=5.0))["Reached"], "yes")
        self.assertEqual(line(goal(), samples.run("mosquitto", cpu_us=0.8), samples.run("ringmq", cpu_us=0.1))["Reached"], "no")

    def test_more_is_better_where_it_is(self):
        found = line(goal(metric="per_sec", goal="500"), samples.run("mosquitto", per_sec=10.0), samples.run("ringmq", per_sec=100.0))
        self.assertEqual((found["Goal"], found["Reached"]), ("≥ 500", "yes"))

    def test_a_goal_may_hang_on_another_figure_of_the_run(self):
        found = line(goal(metric="p99_us", goal="2 p50_us", ratio="-"), samples.run("ringmq"))
        self.assertEqual((found["Goal"], found["ringmq"], found["Reached"]), ("≤ 2 x own p50", "90", "no"))

    def test_what_did_not_run_or_failed_is_never_reached(self):
        self.assertEqual(line(goal(), samples.run("ringmq"))["Reached"], "not measured")
        self.assertEqual(line(goal(qos="1"), samples.run("mosquitto"), samples.run("ringmq"))["Reached"], "not measured")
        found = line(goal(), samples.run("mosquitto"), samples.run("ringmq", fault="1 lost", passed=False))
        self.assertEqual((found["ringmq"], found["x mosquitto"], found["Reached"]), ("FAIL", "FAIL", "no: FAIL"))

    def test_a_phase_has_its_own_goal(self):
        phases = [{"name": "store", "unit": "messages", "per_sec": 5.0, "broker_cpu_us_each": 2.0, "broker_rss_bytes_each": 1.0}]
        found = line(goal(phase="store", ratio="-", goal="2"), samples.run("ringmq", phases=phases))
        self.assertEqual((found["ringmq"], found["Reached"]), ("2.000", "yes"))

    def test_every_goal_is_of_a_cell_that_is_measured(self):
        known = {(cell.scenario, cell.qos) for cell in cells.DEFAULT}
        self.assertLessEqual({(one.scenario, one.qos) for one in goals.read(PATH)}, known)

    def test_a_run_becomes_a_page(self):
        runs = [samples.run("mosquitto"), samples.run("ringmq")]
        text = goals.as_markdown(goals.read(PATH), samples.latest(runs, results.summarize(runs)))
        self.assertIn("| stream, 1 to 1 | 0 | CPU-us/msg | ≤ 0.12 | 63x | 1.000 | 1.00x |", text)
        self.assertIn("Date: 2026-01-01", text)
