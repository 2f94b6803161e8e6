"""Runs as the generator and `schedule` write them, for the tests."""


def report(cpu_us=1.0, per_sec=1000.0, passed=True, limited=False, unsent=0, rate=0, lost=0, phases=None, publishers=1, tls=None):
    """The fields of a generator's report that are read."""
    return {
        "setting": {"publishers": publishers, "connections": 100, "rate": rate, "tls": tls},
        "setup_secs": 0.5,
        "delivered_per_sec": per_sec,
        "unsent": unsent,
        "latency": {"p50_us": 10.0, "p99_us": 90.0},
        "broker": {"cpu_us_per_message": cpu_us, "rss_end_bytes": 8 << 20, "rss_bytes_per_connection": 700.0},
        "generator": {"limited": limited},
        "integrity": {"lost": lost, "duplicated": 0},
        "notes": [],
        "integrity_passed": passed,
        "phases": phases,
    }


def run(broker, fault=None, scenario="stream", qos=0, setting="core", window=None, **fields):
    one = {"setting": setting, "scenario": scenario, "qos": qos, "broker": broker, "window": window, "repetition": 1, "secs": 1.0}
    return one | {"fault": fault, "report": report(**fields)}


def latest(runs, rows):
    """A whole report of one setting."""
    labels = list(dict.fromkeys(one["broker"] for one in runs))
    facts = [["Date", "2026-01-01"], ["Command", "scripts/compare"], ["CPU", "1 x <b>& pipe|"]]
    named = {"core": labels, "total": labels}
    return {"format": 1, "repetitions": 3, "facts": facts, "labels": named, "conditions": dict.fromkeys(named, "x < y"), "rows": rows, "runs": runs}
