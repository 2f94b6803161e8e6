"""What scripts/instructions concludes from counts, without counting."""

import contextlib
import importlib.machinery
import importlib.util
import io
import sys
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "instructions"
LOADER = importlib.machinery.SourceFileLoader("instructions", str(SCRIPT))
instructions = importlib.util.module_from_spec(importlib.util.spec_from_loader("instructions", LOADER))
LOADER.exec_module(instructions)

HERE = {"rustc": "1.95.0", "valgrind": "3.19.0"}


def judged(baseline, now, recorded=HERE):
    rows = instructions.changes(baseline, now)
    return instructions.judge(rows, instructions.differences(recorded, HERE))


class Judging(unittest.TestCase):
    def test_a_change_within_the_bound_passes_in_both_directions(self):
        self.assertEqual(judged({"a": 100.0, "b": 100.0}, {"a": 104.9, "b": 95.1})[0], 0)

    def test_a_change_beyond_the_bound_fails_in_both_directions_and_says_what_to_do(self):
        for now in (105.1, 94.9):
            code, words = judged({"a": 100.0, "b": 1.0}, {"a": now, "b": 1.0})
            self.assertEqual(code, 1)
            self.assertIn("a (changed)", words)
            self.assertNotIn("b (", words)
            self.assertIn("--accept", words)

    def test_a_case_that_is_new_or_gone_fails(self):
        code, words = judged({"old": 1.0}, {"young": 1.0})
        self.assertEqual(code, 1)
        self.assertIn("young (new)", words)
        self.assertIn("old (gone)", words)

    def test_another_version_than_the_baselines_is_told_and_passes(self):
        code, words = judged({"a": 100.0}, {"a": 200.0}, {**HERE, "rustc": "1.94.0"})
        self.assertEqual(code, 0)
        self.assertIn("rustc is 1.95.0, the baseline has 1.94.0", words)
        self.assertNotIn("valgrind", words)

    def test_a_missing_baseline_fails(self):
        self.assertEqual(judged({}, {"a": 1.0}, {})[0], 1)


class Files(unittest.TestCase):
    def test_a_baseline_is_read_as_it_was_written(self):
        counts = {"match/1000 filters, mixed": 1129.2, "a": 2.0}
        text = instructions.render_baseline(HERE, counts)
        self.assertEqual(instructions.parse_baseline(text), (HERE, counts))

    def test_a_total_is_found_and_nothing_counted_is_an_error(self):
        self.assertEqual(instructions.total("events: Ir\nfn=(1) main\n1 2\n\ntotals: 42\n"), 42)
        with contextlib.redirect_stderr(io.StringIO()):
            self.assertRaises(SystemExit, instructions.total, "totals: 0\n")

    def test_costs_and_allocations_are_found_under_the_numbers_that_names_were_given(self):
        lines = ["fl=(1) src/turn.rs", "fn=(1) turn", "7 5", "cfi=(2) malloc.c", "cfn=(2) malloc", "calls=3 0", "7 30"]
        lines += ["+1 6", "cfn=(3) free", "calls=9 0", "* 9", "fi=(2)", "1 4", "fe=(1)", "9 1"]
        lines += ["", "fl=(1)", "fn=(4) a::<impl b>::c", "12 2", "cfi=(2)", "cfn=(2)", "calls=4 0", "* 40"]
        lines += ["", "fl=(2)", "fn=(2)", "1 70", "", "totals: 88"]
        by_function, by_file, allocated = instructions.read_profile("\n".join(lines))
        self.assertEqual(by_function, {"turn": 16, "a::<impl b>::c": 2, "malloc": 70})
        self.assertEqual(by_file, {"src/turn.rs": 14, "malloc.c": 74})
        self.assertEqual(allocated, 7)


if __name__ == "__main__":
    unittest.main()
