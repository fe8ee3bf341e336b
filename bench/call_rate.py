"""How many calls a second, at what cost, with what delay, in how much memory. See `run`."""

import argparse
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict, deque
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "sipp-scenarios"))

from checks import percentile  # noqa: E402
from heavy import Tcpdump, packets  # noqa: E402
from node import Node  # noqa: E402
from sipp import Sipp  # noqa: E402

from peers import PEERS  # noqa: E402

CALLER, CALLEE = "127.1.20.1", "127.2.20.1"
LINE = {"name": "bench", "role": "customer-leg", "profile": "voximplant-app", "prefix": "61255",
        "peers": [f"{CALLEE}:5060"]}
# The RTP pool is as wide as the descriptors and the ephemeral range allow: a lease rests after its
# call, so that a high rate needs many.
DESCRIPTORS = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
PORTS = f"10000-{10000 + min(22766, (DESCRIPTORS - 1024) // 2 * 2)}"
MODES = {"bypass": "bypass", "anchored": "relay", "direct": None, **dict.fromkeys(PEERS)}
# Of all calls, how many may be a retransmission of something before a rate is not clean.
RETRANSMISSIONS = 0.001
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


class Bench:
    """One media mode: a node on one core, the load on the other."""

    def __init__(self, given, mode, where):
        self.given, self.mode, self.where = given, mode, where / mode
        self.where.mkdir()
        self.node, self.runs = None, 0

    def start(self):
        if MODES[self.mode]:
            self.node = Node(self.where / "node", [LINE], cpu=self.given.node_core, ports=PORTS,
                             max_cps=100_000, media_mode=MODES[self.mode])
        elif self.mode in PEERS:
            peer = PEERS[self.mode]
            self.node = peer(self.where / "node", f"{CALLEE}:5060", self.given.node_core)
        if self.node:
            self.node.start()
        self.load(50, 100, tool="sipp")

    def restart(self):
        """A fresh node: what an overload left behind must not count against the next rate, and
        calls that it cut must not be told of their end in the middle of the next load."""
        if self.node:
            self.node.stop()
            shutil.rmtree(self.node.where)
            self.start()

    def stop(self):
        if self.node:
            self.node.stop()

    @property
    def target(self):
        return f"{self.node.sip}:5060" if self.node else f"{CALLEE}:5060"

    def load(self, rate, calls, hold_ms=200, tool=None):
        """One load; gives what became of the calls and what they cost."""
        before, began = self.cpu(), time.monotonic()
        tool = tool or self.given.tool
        outcome = self.sipp(rate, calls, hold_ms) if tool == "sipp" else self.sipload(rate, calls)
        seconds, after = time.monotonic() - began, self.cpu()
        spent = {name: after[name] - before.get(name, 0.0) for name in after}
        per_1000 = {name: round(cpu * 1000 / calls, 3) for name, cpu in spent.items() if cpu > 0}
        return {"rate": rate, "calls": calls, "seconds": round(seconds, 1), **outcome,
                "cpu_s_per_1000": round(sum(spent.values()) * 1000 / calls, 3),
                "cpu_s_per_1000_by_thread": dict(sorted(per_1000.items(), key=lambda x: -x[1]))}

    def sipp(self, rate, calls, hold_ms):
        self.runs += 1
        where, core = self.where / f"run{self.runs}", self.given.load_core
        extra = ("-buff_size", "4000000", "-max_invite_retrans", "6", "-max_non_invite_retrans", "6")
        b = Sipp("uas_load", where, CALLEE, calls, log="", cpu=core, timeout_s=3600, extra=extra)
        a = Sipp("uac_load", where, CALLER, calls, target=self.target, rate=rate, hold_ms=hold_ms,
                 numbers="numbers.csv", log="", cpu=core, timeout_s=3600, extra=extra)
        try:
            done = a.wait(calls / rate + hold_ms / 1000 + 10) is not None
            b.wait(3)
            caller, callee = a.stat(), b.stat()
            return {"ok": caller["ok"], "failed": calls - caller["ok"], "in_time": done,
                    "retransmissions": caller["retransmissions"] + callee["retransmissions"]}
        finally:
            a.stop()
            b.stop()
            shutil.rmtree(where, ignore_errors=True)

    def sipload(self, rate, calls):
        binary = HERE.parent / "target/release/cooee-sipload"
        done = subprocess.run(
            ["taskset", "-c", str(self.given.load_core), str(binary), "--json", "--rate", str(rate),
             "--calls", str(calls), "--target", self.target, "--caller", f"{CALLER}:5060",
             "--callee", f"{CALLEE}:5060"],
            capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
        if done.returncode not in (0, 1):
            raise RuntimeError(f"sipload ended with {done.returncode}: {done.stderr}")
        seen = json.loads(done.stdout)
        again = seen["uac_retransmits"] + seen["uas_retransmits"] + seen["uas_duplicates"]
        return {"ok": seen["ok"], "failed": seen["failed"], "in_time": True,
                "retransmissions": again,
                "invite_to_200_ms": millis(seen["invite_to_200"]),
                "invite_a_to_b_ms": millis(seen["invite_a_to_b"]),
                "behind_schedule_ms": millis(seen["behind_schedule"])}

    def cpu(self):
        """CPU seconds of the subject so far, by thread name."""
        found = defaultdict(float)
        pids = self.node.pids() if self.node else []
        for pid in pids:
            for task in Path(f"/proc/{pid}/task").iterdir():
                stat = (task / "stat").read_text()
                name = stat[stat.index("(") + 1:stat.rindex(")")]
                fields = stat[stat.rindex(")") + 2:].split()
                found[name] += (int(fields[11]) + int(fields[12])) * TICK_S
        return dict(found)

    def peak(self):
        """The highest clean rate: doubles, then halves the gap, then confirms for longer."""
        tried, low, high, rate = [], 0, None, self.given.start_rate
        while high is None or high - low > max(5, 0.06 * low):
            seen = self.load(rate, rate * self.given.step_s)
            tried.append(brief(seen))
            progress(self.mode, seen)
            if clean(seen):
                low = rate
            else:
                high = rate
                self.restart()
            if rate >= self.given.max_rate and high is None:
                break
            rate = min(self.given.max_rate, rate * 2) if high is None else (low + high) // 2
            if rate < 1:
                break
        while low:
            seen = self.load(low, low * self.given.confirm_s)
            progress(f"{self.mode}, confirming", seen)
            if clean(seen):
                return low, seen, tried
            tried.append(brief(seen))
            self.restart()
            low = int(low * 0.93)
        return 0, None, tried

    def delay(self, calls=500):
        """INVITE in to INVITE out at 50 calls a second, by the kernel's stamps."""
        if os.geteuid() != 0 or not self.node:
            return None
        file = self.where / "delay.pcap"
        file.touch(mode=0o666)
        with Tcpdump(file, self.node.sip):
            self.load(50, calls, tool="sipp")
            time.sleep(0.3)
        waiting, spans = defaultdict(deque), []
        seen = set()
        for at_ns, source, target, text in packets(file):
            number = re.match(r"INVITE sips?:\+?(\d+)@", text)
            if not number:
                continue
            call = re.search(r"(?im)^(?:Call-ID|i)[ \t]*:[ \t]*(\S+)", text)
            if not call or (call.group(1), source) in seen:
                continue  # a retransmission
            seen.add((call.group(1), source))
            if target == self.node.sip:
                waiting[number.group(1)].append(at_ns)
            elif source == self.node.sip and waiting[number.group(1)]:
                spans.append(at_ns - waiting[number.group(1)].popleft())
        spans.sort()
        return {"calls": len(spans), "p50_ms": round(percentile(spans, 0.5) / 1e6, 3),
                "p99_ms": round(percentile(spans, 0.99) / 1e6, 3),
                "max_ms": round(spans[-1] / 1e6, 3) if spans else None}

    def memory(self, calls):
        """Resident kB a call, while so many are up."""
        if not self.node:
            return None
        self.restart()
        before, core = self.node.rss_kb(), self.given.load_core
        rate, where = 200, self.where / "held"
        hold_ms = int((calls / rate + 6) * 1000)
        b = Sipp("uas_load", where, CALLEE, calls, log="", cpu=core, timeout_s=3600)
        a = Sipp("uac_load", where, CALLER, calls, target=self.target, rate=rate, hold_ms=hold_ms,
                 numbers="numbers.csv", log="", cpu=core, timeout_s=3600)
        try:
            time.sleep(calls / rate + 3)
            held, during = a.stat()["current"], self.node.rss_kb()
            a.wait(hold_ms / 1000 + calls / rate + 10)
            return {"held": held, "failed": a.stat()["failed"],
                    "kb_per_call": round((during - before) / max(held, 1), 2)}
        finally:
            a.stop()
            b.stop()


def millis(span):
    return {key[:-3]: span[key] / 1000 for key in ("p50_us", "p99_us", "max_us")}


def clean(seen):
    return (seen["failed"] == 0 and seen["in_time"]
            and seen["retransmissions"] < max(1, RETRANSMISSIONS * seen["calls"]))


def brief(seen):
    return {key: seen[key] for key in ("rate", "ok", "failed", "retransmissions")}


def progress(what, seen):
    verdict = "clean" if clean(seen) else "not clean"
    print(f"# {what}: {seen['rate']}/s {verdict}, {seen['failed']} failed, "
          f"{seen['retransmissions']} retransmissions, {seen['cpu_s_per_1000']} CPU-s per 1000",
          file=sys.stderr, flush=True)


def measure(bench):
    """Everything about one mode."""
    given = bench.given
    try:
        bench.start()
        rate, at_peak, tried = bench.peak()
        bench.restart()
        at_50 = bench.load(50, 50 * given.step_s, tool="sipp")
        delay = bench.delay()
        at_half = bench.load(max(50, rate // 2), max(50, rate // 2) * given.step_s) if rate else None
        memory = bench.memory(given.held) if given.held else None
        return {"highest_clean_rate": rate, "tried": tried, "at_50": at_50, "at_half": at_half,
                "at_peak": at_peak, "invite_in_to_out_at_50": delay, "memory": memory}
    finally:
        bench.stop()


def show(report):
    modes = list(report)
    print("\n" + " " * 36 + "".join(mode.rjust(16) for mode in modes))

    def row(name, pick):
        cells = []
        for mode in modes:
            try:
                cells.append(str(pick(report[mode])))
            except (KeyError, TypeError):
                cells.append("-")
        print(name.ljust(36) + "".join(cell.rjust(16) for cell in cells))

    row("highest clean rate, calls/s", lambda m: m["highest_clean_rate"])
    for key, name in (("at_50", "50/s"), ("at_half", "half"), ("at_peak", "peak")):
        row(f"CPU-s per 1000 calls at {name}", lambda m, key=key: m[key]["cpu_s_per_1000"])
    row("INVITE in to out at 50/s, p50 ms", lambda m: m["invite_in_to_out_at_50"]["p50_ms"])
    row("INVITE in to out at 50/s, p99 ms", lambda m: m["invite_in_to_out_at_50"]["p99_ms"])
    row("kB per call held", lambda m: m["memory"]["kb_per_call"])
    threads = {name for mode in modes for name in
               ((report[mode]["at_peak"] or {}).get("cpu_s_per_1000_by_thread") or {})}
    for thread in sorted(threads):
        row(f"  peak, thread {thread}",
            lambda m, thread=thread: m["at_peak"]["cpu_s_per_1000_by_thread"][thread])


def main():
    parser = argparse.ArgumentParser(prog="bench/run call-rate", description=__doc__)
    parser.add_argument("--tool", choices=("sipp", "sipload"), default="sipp")
    parser.add_argument("--modes", default="bypass,anchored", help="also: direct (no node between); kamailio, kamailio-topoh, sippy")
    parser.add_argument("--start-rate", type=int, default=200, help="first rate tried")
    parser.add_argument("--max-rate", type=int, default=20000, help="last rate tried")
    parser.add_argument("--step-s", type=int, default=20, help="seconds at each rate")
    parser.add_argument("--confirm-s", type=int, default=30, help="seconds at the rate reported")
    parser.add_argument("--held", type=int, default=1000, help="calls up for the memory row; 0: none")
    parser.add_argument("--node-core", type=int, default=0)
    parser.add_argument("--load-core", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    modes = given.modes.split(",")
    if unknown := [mode for mode in modes if mode not in MODES]:
        parser.error(f"no such mode: {', '.join(unknown)}; there are {', '.join(MODES)}")
    # Nothing may stay behind, and what has been measured is shown.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    where, report = Path(tempfile.mkdtemp(prefix="cooee-bench-")), {}
    try:
        for mode in modes:
            report[mode] = measure(Bench(given, mode, where))
    finally:
        shutil.rmtree(where, ignore_errors=True)
        if given.json:
            print(json.dumps(report, indent=2))
        else:
            show(report)


if __name__ == "__main__":
    main()
