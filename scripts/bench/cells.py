"""What is measured: a cell is a scenario with a QoS. Must not know brokers. Neighbours: `schedule` runs cells."""

from typing import NamedTuple, Optional, Tuple

# What MQTT may be carried by, as it is asked for, and as it is shown. None is a bare socket.
TLS = "tls"
WEBSOCKET = "websocket"
CARRIERS = {TLS: "TLS", WEBSOCKET: "WebSocket"}


class Cell(NamedTuple):
    """`qos` None leaves it to the scenario. Each broker runs with every window and is shown with its best; None is the scenario's own."""

    scenario: str
    qos: Optional[int]
    windows: Tuple[Optional[int], ...] = (None,)
    carrier: Optional[str] = None

    @property
    def title(self):
        """The scenario as it is shown: its name, and what carries it if that is not a bare socket."""
        return self.scenario if self.carrier is None else f"{self.scenario} over {CARRIERS[self.carrier]}"


# The pipelined stream has a window made for a broker that works in batches; a smaller one may suit others better.
STREAM_WINDOWS = (None, 500)
# A deep window on hundreds of connections takes a slow broker seconds to go round, longer than a run.
DEEP_WINDOWS = (None, 8)
SHARED_WINDOWS = (None, 51)
WINDOWS = {
    "stream": STREAM_WINDOWS,
    "fanin-deep": DEEP_WINDOWS,
    "fanout-deep": DEEP_WINDOWS,
    "pairs-deep": DEEP_WINDOWS,
    "shared-deep": SHARED_WINDOWS,
}

# Shapes that are measured over each carrier as well: one connection, hundreds, and one message for all.
CARRIED = (
    Cell("stream", 0, STREAM_WINDOWS),
    Cell("stream", 1, STREAM_WINDOWS),
    Cell("pairs", 0),
    Cell("pairs-deep", 0, DEEP_WINDOWS),
    Cell("fanout", 0),
    Cell("fanout-deep", 0, DEEP_WINDOWS),
)

DEFAULT = (
    Cell("stream", 0, STREAM_WINDOWS),
    Cell("stream", 1, STREAM_WINDOWS),
    Cell("fanin", 0),
    Cell("fanin", 1),
    Cell("fanin-deep", 0, DEEP_WINDOWS),
    Cell("fanin-deep", 1, DEEP_WINDOWS),
    Cell("fanout", 0),
    Cell("fanout-deep", 0, DEEP_WINDOWS),
    Cell("fanout-paced", 0),
    Cell("pairs", 0),
    Cell("pairs", 1),
    Cell("pairs", 2),
    Cell("pairs-deep", 0, DEEP_WINDOWS),
    Cell("pairs-deep", 1, DEEP_WINDOWS),
    Cell("pairs-deep", 2, DEEP_WINDOWS),
    Cell("wild", 0),
    Cell("wild", 1),
    Cell("shared", 0),
    Cell("shared", 1),
    Cell("shared-deep", 0, SHARED_WINDOWS),
    Cell("shared-deep", 1, SHARED_WINDOWS),
    Cell("latency", 0),
    Cell("latency", 1),
    Cell("big", 0),
    Cell("retain", 1),
    Cell("offline", 1),
    Cell("connect", None),
) + tuple(cell._replace(carrier=carrier) for carrier in CARRIERS for cell in CARRIED)

# Scenarios whose rate the broker decides and that have enough clients for all cores.
# `stream` has one connection each way; it is here to show what more shards cost when they cannot help.
TOTAL_SCENARIOS = ("stream", "fanin", "fanin-deep", "fanout", "fanout-deep", "pairs", "pairs-deep", "wild", "shared", "shared-deep", "fleet")


# What the ring floor (benches/floor.rs) can carry, at QoS 0.
FLOOR_SCENARIOS = ("stream", "fanin", "fanin-deep", "fanout", "fanout-deep", "fanout-paced", "pairs", "pairs-deep", "latency")


def name_of(scenario, qos):
    return scenario if qos is None else f"{scenario} QoS {qos}"


def parse(text):
    """The cells that `NAME[:QOS][+CARRIER]` means; without a QoS every default cell of that name, without a name every default cell
    of that carrier. ValueError if it cannot be."""
    asked, plus, carrier = text.partition("+")
    name, colon, qos = asked.partition(":")
    if (colon and qos not in ("0", "1", "2")) or (plus and carrier not in CARRIERS) or not (name or plus):
        raise ValueError(f"'{text}': write NAME, NAME:QOS, NAME:QOS+CARRIER or +CARRIER; QoS is 0, 1 or 2, CARRIER {' or '.join(CARRIERS)}")
    carrier = carrier or None
    if colon:
        return [Cell(name, int(qos), WINDOWS.get(name, (None,)), carrier)]
    found = [cell for cell in DEFAULT if cell.carrier == carrier and name in ("", cell.scenario)]
    return found or [Cell(name, None, carrier=carrier)]


def choose(texts, known):
    """The cells asked for (all defaults if none are) and the names among them that the generator does not know."""
    wanted = [cell for text in texts for cell in parse(text)] if texts else list(DEFAULT)
    unknown = sorted({cell.scenario for cell in wanted if cell.scenario not in known})
    # A cell named twice is measured once.
    return [cell for cell in dict.fromkeys(wanted) if cell.scenario in known], unknown


def is_for_floor(cell):
    return cell.carrier is None and cell.qos == 0 and cell.scenario in FLOOR_SCENARIOS


def of_setting(setting, cells):
    return [cell for cell in cells if setting == "core" or (cell.carrier is None and cell.scenario in TOTAL_SCENARIOS)]
