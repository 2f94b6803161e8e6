"""What scripts/conformance finds wrong, on a tree of three statements and three cases."""

import contextlib
import importlib.machinery
import importlib.util
import io
import sys
import tempfile
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "conformance"
LOADER = importlib.machinery.SourceFileLoader("conformance", str(SCRIPT))
conformance = importlib.util.module_from_spec(importlib.util.spec_from_loader("conformance", LOADER))
LOADER.exec_module(conformance)

PROOF = "/// [MQTT-1.1-1], cases R01 to R02.\n#[test]\nfn it_holds() {}\n"


class Checking(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)
        (self.root / "docs").mkdir()
        self.ids = self.root / "tests" / "conformance"
        self.ids.mkdir(parents=True)
        self.write("mqtt5-ids.txt", "MQTT-1.1-1\tboth\tMUST\nMQTT-1.1-2\tclient\tMUST\nMQTT-1.1-3\tbroker\tMUST\tAUTH\n")
        self.write("mqtt311-ids.txt", "")
        (self.root / "tests" / "cases.tsv").write_text("R01\tsilence\nR02\tdrip\nR06\tslow TLS\tTLS\n")
        self.write("proof.rs", PROOF)

    def write(self, name, text):
        (self.ids / name).write_text(text)

    def run_script(self, *arguments):
        """None, or what it complains about."""
        with contextlib.redirect_stdout(io.StringIO()):
            try:
                conformance.main(list(arguments), self.root)
            except SystemExit as end:
                return end.code
        return None

    def test_a_tree_in_which_every_statement_for_a_broker_has_a_test_passes(self):
        self.assertIsNone(self.run_script())
        self.assertIsNone(self.run_script("--check"))
        table = (self.root / "docs" / "conformance.md").read_text()
        self.assertIn("| MQTT-1.1-1 | MUST | both | `tests/conformance/proof.rs` it_holds |", table)
        self.assertIn("| MQTT-1.1-2 | MUST | client only |  |", table)
        self.assertIn("| MQTT-1.1-3 | MUST | broker, with AUTH |  |", table)

    def test_a_statement_for_a_broker_without_a_test_fails(self):
        self.write("proof.rs", PROOF.replace("#[test]\n", ""))
        self.assertIn("no test names [MQTT-1.1-1]", self.run_script("--check"))

    def test_a_tag_that_no_specification_has_fails(self):
        self.write("proof.rs", PROOF + PROOF.replace("1.1-1", "9.9-9").replace("it_holds", "it_does_not"))
        self.assertIn("no specification has [MQTT-9.9-9], which it_does_not names", self.run_script("--check"))
        self.write("proof.rs", PROOF + PROOF.replace("[MQTT", "[v3.1.1 MQTT"))
        self.assertIn("no specification has [v3.1.1 MQTT-1.1-1]", self.run_script("--check"))

    def test_a_table_that_is_not_what_would_be_written_fails(self):
        self.assertIn("stale", self.run_script("--check"))
        self.assertIsNone(self.run_script())
        self.write("proof.rs", PROOF.replace("it_holds", "it_holds_still"))
        self.assertIn("stale", self.run_script("--check"))

    def test_a_case_without_a_test_fails_unless_it_needs_what_is_not_there(self):
        self.assertIsNone(self.run_script())
        table = (self.root / "docs" / "cases.md").read_text()
        self.assertIn("| R02 | drip |  | `tests/conformance/proof.rs` it_holds |", table)
        self.assertIn("| R06 | slow TLS | needs TLS |  |", table)
        self.write("proof.rs", PROOF.replace("cases R01 to R02", "case R01"))
        self.assertIn("no test names case R02", self.run_script("--check"))

    def test_a_case_that_is_not_listed_fails(self):
        self.write("proof.rs", PROOF.replace("R02", "R03"))
        self.assertIn("it_holds names case R03, which is not listed", self.run_script("--check"))

    def test_a_side_that_does_not_exist_fails(self):
        self.write("mqtt5-ids.txt", "MQTT-1.1-1\tserver\tMUST\n")
        self.assertIn("'server'", self.run_script("--check"))


if __name__ == "__main__":
    unittest.main()
