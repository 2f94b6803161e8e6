"""What is chosen, where it runs, and that nothing outlives its run."""

import argparse
import os
import time
import unittest

from bench import brokers, cells, generator, placement, schedule
from bench.failure import CannotStart


class Cells(unittest.TestCase):
    def test_a_name_alone_means_all_its_default_cells(self):
        self.assertEqual([cell.qos for cell in cells.parse("pairs")], [0, 1, 2])
        self.assertEqual(cells.parse("slow"), [cells.Cell("slow", None)])
        self.assertEqual(cells.parse("fleet:1"), [cells.Cell("fleet", 1)])

    def test_a_cell_by_name_has_the_windows_of_the_default(self):
        for cell in cells.DEFAULT:
            asked = (cell.scenario if cell.qos is None else f"{cell.scenario}:{cell.qos}") + (f"+{cell.carrier}" if cell.carrier else "")
            self.assertIn(cell, cells.parse(asked))

    def test_a_carrier_alone_means_all_its_default_cells_and_a_name_alone_none_of_them(self):
        self.assertEqual([cell.carrier for cell in cells.parse("+tls")], ["tls"] * len(cells.CARRIED))
        self.assertEqual([cell.title for cell in cells.parse("pairs+websocket")], ["pairs over WebSocket"])
        self.assertEqual({cell.carrier for cell in cells.parse("stream")}, {None})

    def test_a_qos_that_does_not_exist_is_refused(self):
        for text in ("stream:3", "stream:", "stream:0+udp", "stream+", ""):
            with self.assertRaises(ValueError):
                cells.parse(text)

    def test_unknown_scenarios_are_left_out_by_name(self):
        chosen, unknown = cells.choose(["stream:0", "stream:0", "nope"], {"stream"})
        self.assertEqual(([cell.scenario for cell in chosen], unknown), (["stream"], ["nope"]))


class Placement(unittest.TestCase):
    def alone(self, cpu):
        return (cpu,)

    def test_on_one_core_the_generator_has_the_others(self):
        place = placement.place("core", range(4), self.alone)
        self.assertEqual((place.broker, place.generator), ((0,), (1, 2, 3)))

    def test_the_generator_stays_off_the_hyper_thread_of_the_broker(self):
        place = placement.place("core", range(4), lambda cpu: (cpu % 2, cpu % 2 + 2))
        self.assertEqual(place.generator, (1, 3))

    def test_one_cpu_is_too_few(self):
        with self.assertRaises(ValueError):
            placement.place("core", [0], self.alone)

    def test_two_cpus_are_shared_and_said_to_be(self):
        place = placement.place("total", range(2), self.alone)
        self.assertTrue(place.is_shared and "share" in place.text)

    def test_from_four_cpus_each_side_has_whole_cores(self):
        place = placement.place("total", range(8), lambda cpu: (cpu % 4, cpu % 4 + 4))
        self.assertEqual((place.broker, place.generator), ((0, 1, 4, 5), (2, 3, 6, 7)))

    def test_lists_of_cpus_are_read(self):
        self.assertEqual(placement.cpus_of("0,4-6\n"), (0, 4, 5, 6))


class Commands(unittest.TestCase):
    def test_the_generator_is_called_by_the_name_of_the_scenario(self):
        place = placement.Placement((0,), (1, 2), False, "")
        timing = {"--duration": "1s", "--warmup": None}
        command = generator.command_of("loadgen", cells.Cell("stream", 1), 500, 1883, 42, place, timing)
        self.assertEqual(command[:2], ["loadgen", "stream"])
        self.assertEqual(command[-8:], ["--cpus", "1,2", "--qos", "1", "--window", "500", "--duration", "1s"])

    def test_each_carrier_is_asked_for_with_the_papers_of_the_broker(self):
        place = placement.Placement((0,), (1,), False, "")
        commands = [generator.command_of("loadgen", cell, None, 1, 2, place, {}, "/d") for cell in cells.parse("pairs:0+tls") + cells.parse("pairs:0+websocket")]
        self.assertEqual([command[-2:] for command in commands], [["--tls-ca", "/d/broker.pem"], ["0", "--websocket"]])

    def test_who_shares_cpus_does_not_burn_them(self):
        place = placement.Placement((0, 1), (0, 1), True, "")
        command = generator.command_of("loadgen", cells.Cell("connect", None), None, 1, 2, place, {})
        self.assertEqual(command[-3:], ["--threads", "2", "--idle"])

    def test_shards_are_doubled_up_to_all(self):
        self.assertEqual([brokers.shard_counts(cpus) for cpus in (1, 2, 6, 8)], [[1], [1, 2], [1, 2, 4, 6], [1, 2, 4, 8]])

    def test_a_peer_needs_a_name_of_its_own_and_a_port(self):
        self.assertEqual(brokers.parse_peer("a b=x -p {port}"), brokers.Program("a b", "x -p {port}"))
        for text in ("x -p {port}", "a=x", "ringmq=x {port}", "a=x '{port}"):
            with self.assertRaises(argparse.ArgumentTypeError):
                brokers.parse_peer(text)

    def test_the_order_of_the_brokers_alternates(self):
        programs = [brokers.Program(name, "") for name in "ab"]
        stage = schedule.Stage("core", None, programs, [cells.Cell("stream", 0)])
        self.assertEqual("".join(step.program.label for step in schedule.steps(stage, 2)), "abba")

    def test_the_floor_runs_on_one_core_in_the_cells_that_it_can_carry(self):
        paths = {"floor": "/f"}
        self.assertEqual(brokers.lineup("core", ["floor"], [], paths, 1), [brokers.Program("floor", "/f {port}")])
        self.assertEqual(brokers.lineup("total", ["floor"], [], paths, 2), [])
        programs = [brokers.Program(name, "") for name in ("floor", "ringmq")]
        asked = [cells.Cell("pairs", 0), cells.Cell("pairs", 1), cells.Cell("wild", 0)]
        steps = schedule.steps(schedule.Stage("core", None, programs, asked), 1)
        self.assertEqual([(step.program.label, step.cell.qos) for step in steps], [("floor", 0)] + [("ringmq", qos) for qos in (0, 1, 0)])

    def test_only_who_is_known_to_speak_a_carrier_is_measured_over_it(self):
        programs = brokers.lineup("core", ["mosquitto", "ringmq", "floor", "peer"], [brokers.Program("peer", "")], {"mosquitto": "m", "ringmq": "r", "floor": "f"}, 1)
        steps = schedule.steps(schedule.Stage("core", None, programs, cells.parse("stream:0+tls") + cells.parse("pairs:0")), 1)
        carried = [(step.program.label, step.cell.carrier) for step in steps if step.window is None]
        self.assertEqual(carried, [("mosquitto", "tls"), ("ringmq", "tls")] + [(label, None) for label in ("mosquitto", "peer", "floor", "ringmq")])

    def test_all_cores_are_for_bare_sockets(self):
        self.assertEqual(cells.of_setting("total", cells.parse("+tls")), [])

    def test_times_are_read_as_the_generator_reads_them(self):
        self.assertEqual([schedule.secs_of(text, 9.0) for text in ("500ms", "3s", "2m", None)], [0.5, 3.0, 120.0, 9.0])


def alive_in(group):
    """Processes of a group. What was killed and not yet reaped, whose state is Z, is not one."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat") as file:
                state, _, its_group = file.read().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        found += [name] if int(its_group) == group and state not in "ZX" else []
    return found


class Processes(unittest.TestCase):
    LISTEN = "import socket; s = socket.create_server((\"127.0.0.1\", {port})); s.accept(); import time; time.sleep(60)"

    def test_a_broker_and_what_it_started_end_with_its_block(self):
        cpu = min(os.sched_getaffinity(0))
        program = brokers.Program("peer", f"sh -c 'sleep 60 & exec python3 -c \"$0\"' '{self.LISTEN}'")
        with brokers.Broker(program, (cpu,)) as broker:
            group, folder = broker.process.pid, broker.directory.name
            self.assertTrue(os.path.isdir(folder))
        self.assertFalse(os.path.exists(folder))
        # A killed process ends a moment after the signal is sent.
        end = time.monotonic() + 5
        while alive_in(group) and time.monotonic() < end:
            time.sleep(0.01)
        self.assertEqual(alive_in(group), [])

    def test_a_broker_that_ends_at_once_is_told_with_its_words(self):
        program = brokers.Program("peer", "sh -c 'echo no such thing {port}'")
        with self.assertRaisesRegex(CannotStart, "peer does not listen.*no such thing"):
            with brokers.Broker(program, (min(os.sched_getaffinity(0)),)):
                pass
