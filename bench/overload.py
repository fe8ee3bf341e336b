"""What a node does with more calls than it takes, and than it can do. See `run`.

The node has one core, the load the other. Calls are up all along: they are refreshed by a re-INVITE
while the node is overloaded, and hung up afterwards.
"""

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "sipp-scenarios"))

from node import Node  # noqa: E402
from shedding import judged, sipload, summary  # noqa: E402

CALLER, CALLEE, SIP = "127.1.47.1", "127.2.47.1", "127.3.47.1"
LINE = {"name": "bench", "role": "customer-leg", "profile": "voximplant-app", "prefix": "61255",
        "peers": [f"{CALLEE}:5060"]}
NO_LIMIT = 100_000
# Before and after the overload: a load that any node bears, to see when all is as it was.
BEFORE_S, AFTER_S = 3, 10
# Of all calls, how many may wait longer for their answer than T1 before a rate is not clean.
SLOW = 0.001


class Bench:
    """A fresh node for each load."""

    def __init__(self, given, where):
        self.given, self.where, self.runs = given, where, 0

    def load(self, max_cps, steps, held=0):
        self.runs += 1
        given = self.given
        node = Node(self.where / f"node{self.runs}", [LINE], cpu=given.node_core,
                    sip=SIP, ports="10000-10010", max_cps=max_cps, media_mode="bypass")
        try:
            node.start()
            return sipload(node.sip, CALLER, CALLEE, steps, held=held, core=given.load_core)
        finally:
            node.stop()
            shutil.rmtree(node.where, ignore_errors=True)

    def is_clean(self, rate, seconds):
        """Whether each call of a rate is answered, and answered in time."""
        # The first second is as good as any: what a start costs must not count.
        steps = [(max(50, rate // 2), 2), (rate, seconds)]
        seen = summary(self.load(NO_LIMIT, steps), steps, 1, 0)
        calls = rate * seconds
        clean = (seen["refused"] + seen["failed"] == 0
                 and seen["slow"] + seen["retransmissions"] <= SLOW * calls)
        progress(f"{rate}/s for {seconds} s: {'clean' if clean else 'not clean'}, "
                 f"{seen['refused']} refused, {seen['slow']} slow, {seen['failed']} failed")
        return clean

    def peak(self):
        """The highest clean rate: doubles, halves the gap to 4 %, confirms for longer."""
        low, high, rate = 0, None, self.given.start_rate
        while high is None or high - low > 0.04 * high:
            if self.is_clean(rate, self.given.step_s):
                low = rate
            else:
                high = rate
            rate = rate * 2 if high is None else (low + high) // 2
            if rate < 50:
                raise RuntimeError("not even 50 calls a second are clean here")
        while not self.is_clean(low, self.given.confirm_s):
            low = int(low * 0.96)
        return low

    def overload(self, max_cps, rate, normal):
        """So many calls a second for a while, a load as usual before and after."""
        given = self.given
        steps = [(normal, BEFORE_S), (rate, given.seconds), (normal, AFTER_S)]
        return summary(self.load(max_cps, steps, given.held), steps, 1, given.held)


def progress(text):
    print(f"# {text}", file=sys.stderr, flush=True)


def show(report):
    columns = ("offered_cps", "goodput_cps", "goodput_share", "refused_ms", "reinvite_ms", "bye_ms",
               "back_after_s", "held", "held_lost", "failed", "slow", "retransmissions")
    print("\nmilliseconds are p50, p99 and the longest\n")
    print(" " * 16 + "".join(row["name"].rjust(26) for row in report["rows"]))
    for column in columns:
        cells = [row[column] for row in report["rows"]]
        shown = [" / ".join(map(str, cell)) if isinstance(cell, list) else str(cell)
                 for cell in cells]
        print(column.ljust(16) + "".join(cell.rjust(26) for cell in shown))
    for row in report["rows"]:
        print(f"{row['name']}: {'; '.join(row['complaints']) or 'as it should be'}")


def main():
    parser = argparse.ArgumentParser(prog="bench/run overload", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="how long each overload lasts")
    parser.add_argument("--held", type=int, default=500, help="calls up all along")
    parser.add_argument("--limit", type=int, default=1000, help="max_cps of the first row")
    parser.add_argument("--offered", type=int, default=5000, help="calls a second against it")
    parser.add_argument("--peak", type=int, help="the clean peak, where it is known")
    parser.add_argument("--factor", type=float, default=1.5, help="so many times the clean peak")
    parser.add_argument("--start-rate", type=int, default=1000, help="first rate tried for the peak")
    parser.add_argument("--step-s", type=int, default=8, help="seconds at each rate")
    parser.add_argument("--confirm-s", type=int, default=20, help="seconds at the peak")
    parser.add_argument("--node-core", type=int, default=0)
    parser.add_argument("--load-core", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    where = Path(tempfile.mkdtemp(prefix="cooee-bench-"))
    bench = Bench(given, where)
    try:
        progress(f"max_cps {given.limit}, {given.offered}/s for {given.seconds} s")
        limited = bench.overload(given.limit, given.offered, given.limit // 2)
        limited |= {"name": f"max_cps {given.limit}", "complaints": judged(limited, given.limit),
                    "goodput_share": round(limited["goodput_cps"] / given.limit, 3)}
        peak = given.peak or bench.peak()
        rate = int(given.factor * peak)
        progress(f"clean peak {peak}/s; {rate}/s for {given.seconds} s")
        saturated = bench.overload(NO_LIMIT, rate, peak // 2)
        saturated |= {"name": f"{given.factor} x clean peak", "complaints": judged(saturated, peak),
                      "goodput_share": round(saturated["goodput_cps"] / peak, 3)}
    finally:
        shutil.rmtree(where, ignore_errors=True)
    report = {"clean_peak_cps": peak, "rows": [limited, saturated]}
    if given.json:
        print(json.dumps(report, indent=2))
    else:
        print(f"clean peak: {peak} calls/s")
        show(report)
    sys.exit(any(row["complaints"] for row in report["rows"]))


if __name__ == "__main__":
    main()
