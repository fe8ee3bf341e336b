"""What a relay adds to a voice packet's way, what that costs, and how much it can carry. See `run`.

Nothing between (direct), cooee in each of its ways to wait, rtpengine, and the least that a relay
can do (`c-...`, see reference/relay.c) in turns inside one run, the relay on one core, the load tool
on the other. `raw` is the way from the tool's stamp to the kernel's receive stamp;
`added` is raw minus direct's of the same round, percentile by percentile. Figures are medians of
the rounds; loss and reordering are sums. CPU is user and system time of all threads of the relay.
Memory is resident memory with the calls up, before any voice, less that without; cooee's holds the
SIP side as well. The highest rate is the last that lost nothing with a raw p99 below the limit,
tried twice before it counts as failed, and confirmed for longer. `waited` is how long threads of
the relay, or the load tool, were ready to run and another process had their core: where it is more
than a little, a p99 says more of the machine than of the relay. Such a load is taken again, up to
`--again` times, and the quietest one counts, whatever it showed.
"""

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median, median_low

from relays import HERE, RELAYS, said

TOOL = HERE.parent / "target/release/cooee-rtpload"
RESULT = HERE / "results/relay.json"
SPANS = ("p50_us", "p99_us", "p99_9_us")
# A rate counts as sent if this share of it was; below, the tool is at its limit.
SENT_SHARE = 0.97
TOLERANCE = 0.05  # how closely the search ends
NOISE_PERCENT = 0.5  # of the time, spent waiting for a core
STEPS, LEAST_RATE = 12, 5000  # where it gives up
CONFIRMATIONS = 5


class Bench:
    """The relays of a run, all up, one at a time awake."""

    def __init__(self, given, where):
        self.given, self.where = given, where
        self.relays, self.missing, self.memory = [], {}, {}

    def start(self):
        for name in self.given.relays:
            try:
                relay = RELAYS[name](self.given, self.where)
                self.relays.append(relay)
                relay.start()
                if self.given.realtime:
                    relay.prefer()
            except (OSError, RuntimeError) as error:
                if name != "rtpengine":
                    raise
                # Somebody else's program: its absence is told, and the rest goes on.
                self.relays.pop().stop()
                self.missing[name] = str(error)
                progress(f"{name} is left out: {error}")
                continue
            self.memory[name] = {0: relay.rss_kb()}
            relay.freeze()

    def stop(self):
        for relay in self.relays:
            try:
                relay.stop()
            except (OSError, RuntimeError) as error:
                progress(f"{relay.name} did not stop as it should: {error}")

    def grow(self, calls):
        for relay in self.relays:
            relay.thaw()
            relay.grow(calls)
            self.memory[relay.name][calls] = relay.rss_kb()
            relay.freeze()

    def load(self, relay, calls, seconds, rate=None, warm_up=0.5):
        """One load through one relay; the quietest, where others were at the cores."""
        tries = []
        while not tries or (tries[-1]["waited_percent"] > NOISE_PERCENT
                            and len(tries) <= self.given.again):
            tries.append(self.once(relay, calls, seconds, rate, warm_up))
        return min(tries, key=lambda seen: seen["waited_percent"]) | {"tries": len(tries)}

    def once(self, relay, calls, seconds, rate, warm_up):
        """One load through one relay, which alone is awake."""
        words = ["chrt", "-f", "10"] if self.given.realtime else []
        words += ["taskset", "-c", str(self.given.load_core), str(TOOL), "--flows",
                  str(relay.flows), "--calls", str(calls), "--seconds", str(seconds),
                  "--warm-up", str(warm_up)]
        words += ["--rate", str(rate)] if rate else []
        words += ["--pid", str(relay.pid)] if relay.pid else []
        relay.thaw()
        try:
            done = subprocess.run(words, capture_output=True, text=True,
                                  stdin=subprocess.DEVNULL, check=False)
        finally:
            relay.freeze()
        if done.returncode:
            raise RuntimeError(f"rtpload ended with {done.returncode}: {done.stderr}")
        seen = json.loads(done.stdout)
        waited = max(seen[f"{who}_waited_percent"] or 0 for who in ("relay", "tool"))
        return seen | {"waited_percent": round(waited, 2)}

    def level(self, calls):
        """So many calls at 50 packets a second each way, every relay in each round."""
        self.grow(calls)
        rounds = {relay.name: [] for relay in self.relays}
        for n in range(self.given.rounds):
            for relay in self.relays:
                seen = self.load(relay, calls, self.given.seconds)
                rounds[relay.name].append(seen)
                progress(f"{calls} calls, round {n + 1}, {relay.name}: p50 "
                         f"{seen['delay']['p50_us']} us, p99 {seen['delay']['p99_us']} us, "
                         f"{seen['lost']} lost")
        return {name: summary(seen, rounds.get("direct")) | {"kb_per_call": self.kb(name, calls)}
                for name, seen in rounds.items()}

    def kb(self, name, calls):
        before, after = self.memory[name][0], self.memory[name][calls]
        return round((after - before) / calls, 2) if before else None

    def ramp(self, relay, calls):
        """The highest clean rate: half as much again each time, then halving the gap."""
        given = self.given
        rate, low, high, tried = given.start_rate, 0, None, []

        def clean(rate, seconds):
            for _ in range(2):
                seen = self.load(relay, calls, seconds, rate, warm_up=0.2)
                fine = (seen["lost"] == 0 and seen["rate"] >= SENT_SHARE * rate
                        and seen["delay"]["p99_us"] < given.p99_limit_us)
                tried.append({"rate": rate, "clean": fine, **brief(seen)})
                if fine:
                    return seen
            return None

        for _ in range(STEPS):
            if clean(rate, given.step_s):
                low = rate
            else:
                high = rate
            progress(f"ramp, {relay.name}: {rate}/s {'clean' if low == rate else 'not clean'}")
            rate = rate * 3 // 2 if high is None else (low + high) // 2
            found = high is not None and high - low <= TOLERANCE * high
            if found or not LEAST_RATE <= rate <= given.max_rate:
                break
        searched = low
        for _ in range(CONFIRMATIONS if low else 0):
            if seen := clean(low, given.confirm_s):
                return {"rate": low, "searched": searched, "at_rate": seen, "tried": tried}
            low = int(low * 0.9)
        return {"rate": 0, "searched": searched, "at_rate": None, "tried": tried}

    def ramps(self, calls):
        """A ramp of each relay in each round; direct says how much the tool itself can send."""
        found = {relay.name: [] for relay in self.relays}
        for _ in range(self.given.ramp_rounds):
            for relay in self.relays:
                found[relay.name].append(self.ramp(relay, calls))
        report = {}
        for relay in self.relays:
            rates = sorted(ramp["rate"] for ramp in found[relay.name])
            at = next(ramp for ramp in found[relay.name] if ramp["rate"] == median_low(rates))
            report[relay.name] = {"calls": calls, "rate": at["rate"], "searched": at["searched"],
                                  "at_rate": at["at_rate"], "rounds": found[relay.name]}
            floor = next((r for r in self.relays if r.name == "direct"), None)
            if at["at_rate"] and floor and relay is not floor:
                floor = self.load(floor, calls, self.given.step_s, at["rate"])
                report[relay.name]["added"] = {
                    key: round(at["at_rate"]["delay"][key] - floor["delay"][key], 2)
                    for key in SPANS}
        return report


def summary(rounds, floor):
    """What the rounds of one relay at one level come to."""
    sent, cpu = sum(seen["sent"] for seen in rounds), rounds[0]["cpu_us_per_packet"]
    found = {
        "raw": {key: round(median(seen["delay"][key] for seen in rounds), 2) for key in SPANS},
        "added": None,
        "lost_percent": round(100 * sum(seen["lost"] for seen in rounds) / max(sent, 1), 5),
        "overrun_of_the_tool": sum(seen["overrun"] for seen in rounds),
        "reordered": sum(seen["reordered"] for seen in rounds),
        "duplicates": sum(seen["duplicates"] for seen in rounds),
        "rate": median(seen["rate"] for seen in rounds),
        "cpu_us_per_packet": cpu and round(median(s["cpu_us_per_packet"] for s in rounds), 2),
        "cpu_cores": cpu and round(median(seen["cpu_cores"] for seen in rounds), 3),
        "late_p99_us": median(seen["late"]["p99_us"] for seen in rounds),
        "stalls": sum(seen["stalls"] for seen in rounds),
        "waited_percent": median(seen["waited_percent"] for seen in rounds),
        "rounds": rounds,
    }
    if floor and floor is not rounds:
        found["added"] = {
            key: round(median(seen["delay"][key] - under["delay"][key]
                              for seen, under in zip(rounds, floor)), 2)
            for key in SPANS}
    return found


def brief(seen):
    return {"sent_rate": seen["rate"], "lost": seen["lost"], "p50_us": seen["delay"]["p50_us"],
            "p99_us": seen["delay"]["p99_us"], "cpu_us_per_packet": seen["cpu_us_per_packet"],
            "waited_percent": seen["waited_percent"]}


def progress(what):
    print(f"# {what}", file=sys.stderr, flush=True)


def show(report):
    """The report as tables."""
    def row(*cells):
        print("".join(str(cell).rjust(12) if at else str(cell).ljust(14)
                      for at, cell in enumerate(cells)))

    def cell(value, key=None, digits=1):
        value = value.get(key) if key and value else value
        return "-" if value is None else f"{value:.{digits}f}"

    for calls, level in report["levels"].items():
        print(f"\n{calls} calls, {calls * 100} packets/s; microseconds")
        row("", *(f"{kind} {name}" for kind in ("raw", "added")
                  for name in ("p50", "p99", "p99.9")),
            "lost %", "reordered", "CPU/packet", "kB/call", "waited %")
        for name, seen in level.items():
            row(name, *(cell(seen[kind], key) for kind in ("raw", "added") for key in SPANS),
                seen["lost_percent"], seen["reordered"], cell(seen["cpu_us_per_packet"], digits=2),
                cell(seen["kb_per_call"]), cell(seen["waited_percent"], digits=2))
    if report["ramp"]:
        limit = report["settings"]["p99_limit_us"]
        calls = report["settings"]["ramp_calls"]
        print(f"\nhighest rate without loss, p99 below {limit:g} us, {calls} calls; microseconds")
        row("", "packets/s", "added p50", "added p99", "CPU/packet", "cores", "waited %")
        for name, seen in report["ramp"].items():
            at, added = seen["at_rate"], seen.get("added")
            unsure = f"~{seen['searched']}" if seen["searched"] else "none"
            row(name, seen["rate"] or unsure, cell(added, "p50_us"), cell(added, "p99_us"),
                cell(at and at["cpu_us_per_packet"], digits=2),
                cell(at and at["cpu_cores"], digits=2),
                cell(at and at["waited_percent"], digits=2))
        if any(seen["searched"] and not seen["rate"] for seen in report["ramp"].values()):
            print("~: clean once, and not again when it was to be confirmed")
        if "direct" in report["ramp"]:
            print("direct's is the load tool's own ceiling")
    for name, why in report["missing"].items():
        print(f"\n{name}: not measured: {why}")
    load = report["machine"]["load_average"]
    print("\nload average {} before, {} after; {} has it all".format(
        *(" ".join(f"{x:.2f}" for x in load[key]) for key in ("before", "after")),
        RESULT.relative_to(HERE.parent)))


def options():
    parser = argparse.ArgumentParser(
        prog="bench/run relay", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--relays", default="direct,cooee,c-sleep,cooee-latency,c-spin,cooee-eco,c-tick,rtpengine")
    parser.add_argument("--levels", help="calls; default 100,500,1000")
    parser.add_argument("--rounds", type=int, help="of each relay at each level; default 5")
    parser.add_argument("--seconds", type=float, help="measured in a round; default 5")
    parser.add_argument("--ramp-calls", type=int, help="calls of the ramp; 0: none; default 500")
    parser.add_argument("--ramp-rounds", type=int, help="default 2")
    parser.add_argument("--start-rate", type=int, default=100_000, help="packets/s tried first")
    parser.add_argument("--max-rate", type=int, default=2_000_000)
    parser.add_argument("--step-s", type=float, help="seconds at each rate; default 1.5")
    parser.add_argument("--confirm-s", type=float, help="seconds at the rate found; default 5")
    parser.add_argument("--p99-limit-us", type=float, default=1000)
    parser.add_argument("--again", type=int, help="default 2; quick: 0")
    parser.add_argument("--realtime", action="store_true",
                        help="real-time priority for relays and tool, against the noise of a "
                             "shared machine; the kernel keeps 5 %% of a full core for others")
    parser.add_argument("--relay-core", type=int, default=0)
    parser.add_argument("--load-core", type=int, default=1)
    parser.add_argument("--quick", action="store_true",
                        help="less of everything: under two minutes, rougher")
    parser.add_argument("--json", action="store_true", help="prints the report as JSON")
    given = parser.parse_args()
    usual = {"levels": "100,500,1000", "rounds": 5, "seconds": 5, "ramp_calls": 500,
             "ramp_rounds": 2, "step_s": 1.5, "confirm_s": 5, "again": 2}
    quick = {"levels": "100,500", "rounds": 2, "seconds": 1.5, "ramp_calls": 500,
             "ramp_rounds": 1, "step_s": 0.5, "confirm_s": 1.5, "again": 0}
    for key, value in (quick if given.quick else usual).items():
        if getattr(given, key) is None:
            setattr(given, key, value)
    given.relays = given.relays.split(",")
    given.levels = sorted(int(level) for level in given.levels.split(","))
    if unknown := [name for name in given.relays if name not in RELAYS]:
        parser.error(f"no such relay: {', '.join(unknown)}; there are {', '.join(RELAYS)}")
    return given


def machine(before):
    text = Path("/proc/cpuinfo").read_text()
    model = next((line.split(":", 1)[1].strip() for line in text.splitlines()
                  if line.startswith("model name")), "")
    return {"kernel": platform.release(), "cores": os.cpu_count(), "cpu": model,
            "load_average": {"before": before, "after": os.getloadavg()}}


def main():
    given, before = options(), os.getloadavg()
    # Nothing may stay behind, and least of all frozen.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    where = Path(tempfile.mkdtemp(prefix="cooee-bench-"))
    bench = Bench(given, where)
    try:
        bench.start()
        levels = {calls: bench.level(calls) for calls in given.levels}
        if given.ramp_calls > given.levels[-1]:
            bench.grow(given.ramp_calls)
        report = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "versions": {"bench": said("git", "-C", str(HERE), "describe", "--always", "--dirty"),
                         **{relay.name: relay.version() for relay in bench.relays}},
            "commands": {"bench": " ".join(["bench/run", "relay", *sys.argv[1:]]),
                         **{relay.name: relay.command() for relay in bench.relays if relay.pid}},
            "settings": vars(given), "missing": bench.missing, "levels": levels,
            "ramp": bench.ramps(given.ramp_calls) if given.ramp_calls else {},
        }
        report["machine"] = machine(before)
    finally:
        bench.stop()
        shutil.rmtree(where, ignore_errors=True)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(report, indent=2) + "\n")
    if given.json:
        print(json.dumps(report, indent=2))
    else:
        show(report)


if __name__ == "__main__":
    main()
