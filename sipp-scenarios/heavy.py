"""The long rows: load, capture, chaos."""

import os
import random
import re
import signal
import struct
import subprocess
import tempfile
import time
from pathlib import Path

import checks
import deliveries
from node import Node, webhook
from receiver import receiver_in
from sipp import Sipp, header

# What the allocator keeps after a burst; a leak of 1 kB a call would be above it after warm-up.
RSS_SLACK_KB = 16 * 1024


def settled(read, wanted, seconds):
    """Reads until the value is at most what is wanted or the time is over; gives the last value."""
    until = time.monotonic() + seconds
    value = read()
    while value > wanted and time.monotonic() < until:
        time.sleep(0.2)
        value = read()
    return value


def pair(where, row, target, calls, rate, hold_ms, **more):
    """A UAS and a UAC of one row; the UAC calls the target."""
    numbers = "numbers.csv" if row.a == "uac_load" else None
    b = Sipp(row.b, where / row.name, row.callee, calls, timeout_s=600, **more)
    a = Sipp(row.a, where / row.name, row.caller, calls, target=target, rate=rate, hold_ms=hold_ms,
             service=row.dialled, numbers=numbers, timeout_s=600, **more)
    return a, b


def load(where, row, media_row, calls, rate):
    """A burst with media on a tenth: nothing fails, one record each, nothing is left behind."""
    node = Node(where / "node-load", [row.line(), media_row.line()])
    target, running = f"{node.sip}:5060", []
    try:
        node.start()
        running += pair(where / "warm", row, target, 100, rate, 200, log="")
        warm = checks.sipp_went("warm-up", running[0].wait(60), running[0].stat(), 100)
        running[1].wait(10)
        leases = settled(lambda: leases_of(node), 0, 60)
        rss = node.rss_kb()
        with_media = max(1, calls // 10)
        began = time.monotonic()
        sides = [("", *pair(where, row, target, calls - with_media, rate * 0.9, 2000, log="short")),
                 ("media ", *pair(where, media_row, target, with_media, rate * 0.1, 2000, log="short"))]
        running += [side for _, a, b in sides for side in (a, b)]
        complaints, seen = warm, set()
        for name, a, b in sides:
            complaints += checks.sipp_went(f"{name}A", a.wait(calls / rate + 60), a.stat(), a.calls)
            complaints += checks.sipp_went(f"{name}B", b.wait(10), b.stat(), b.calls)
            seen |= checks.answered(a.short())
        seconds = time.monotonic() - began
        cdrs = node.cdrs_settled(calls + 100, 20)
        if len(cdrs) != calls + 100:
            complaints.append(f"{len(cdrs)} records, wanted {calls + 100} with the warm-up")
        complaints += checks.one_cdr_each(cdrs, seen)
        complaints += checks.latency_counted(node.latency(), "invite_forward", calls + 100)
        leases_after = settled(lambda: leases_of(node), leases, 60)
        rss_after = node.rss_kb()
        complaints += checks.back_to_start("cooee_leases", leases, leases_after, 0)
        complaints += checks.back_to_start("resident kB", rss, rss_after, RSS_SLACK_KB)
        retransmissions = sum(side.stat()["retransmissions"] for _, a, b in sides for side in (a, b))
        figures = {"calls": calls, "with_media": with_media, "seconds": round(seconds, 1),
                   "answered": len(seen), "records": len(cdrs), "retransmissions": retransmissions,
                   "rss_kb": [rss, rss_after], "leases": [leases, leases_after],
                   "latency": node.latency()}
        return complaints, figures
    finally:
        for side in running:
            side.stop()
        node.stop()


def leases_of(node):
    return node.metrics().get("cooee_leases", 0)


def chaos(where, row, times, seed):
    """kill -9 under load, restart on the same directory: every answered call goes on, none is lost
    or counted twice, and who is to be told of it is told, whole and in order."""
    seed = random.randrange(1 << 32) if seed is None else seed
    dice = random.Random(seed)
    receiver = receiver_in(where / "chaos", rate=0.1, seed=seed)
    node = Node(where / "node-chaos", [row.line()], more=webhook(receiver, timeout_ms=1000))
    complaints, figures = [], {"seed": seed, "crashes": times, "answered_a": 0, "answered_b": 0,
                               "up_at_the_crash": [], "ready_again_s": []}
    every_a, every_b = set(), set()
    try:
        receiver.open()
        node.start()
        for number in range(times):
            # Every other time nobody listens at the crash, so that the outbox is full.
            (receiver.shut if dice.random() < 0.5 else receiver.open)()
            complaints += crash(where / f"crash{number}", row, node, dice, figures, every_a, every_b)
        receiver.open()
        time.sleep(1)
        # Each B saw an answer for a call whose A may never have heard of it, and the other way.
        wanted = max(len(every_a), len(every_b))
        cdrs = node.cdrs_settled(wanted, 40)
        complaints += checks.crash_lost_nothing(cdrs, every_a, every_b)
        # Who has heard the answer goes on talking after the crash, and hangs up as planned.
        talked = [cdr for cdr in cdrs if every_a & set(checks.legs(cdr, "A"))]
        complaints += checks.fields_are(talked, {"outcome": "connected", "end_party": "dialer"})
        figures["went_on"] = sum(cdr["recovered"] for cdr in talked)
        figures |= {"answered_a": len(every_a), "answered_b": len(every_b), "records": len(cdrs)}
        complaints += node.outbox_emptied(120)
        attempts = receiver.attempts()
        complaints += deliveries.judged(attempts, node.cdrs())
        figures |= {"webhooks": deliveries.figures(attempts)}
        if complaints:
            complaints.append(f"repeat with --seed {seed} --times {times}")
        return complaints, figures
    finally:
        node.stop()
        receiver.close()


def crash(where, row, node, dice, figures, every_a, every_b):
    """One crash at a random moment of a load of ten calls a second."""
    # After the restart each side is asked by OPTIONS whether it is still there: -aa answers.
    a, b = pair(where, row, f"{node.sip}:5060", 40, 10, 1500, log="short", extra=("-aa",))
    try:
        time.sleep(dice.uniform(0.3, 4.0))
        figures["up_at_the_crash"].append(a.stat()["current"])
        node.kill()
        figures["ready_again_s"].append(round(node.start(), 3))
        # Calls not yet answered at the crash end with an error on A; SIPp counts them as failed.
        a.wait(60)
        b.process.send_signal(signal.SIGUSR1)
        b.wait(5)
        a_answered, b_answered = checks.answered(a.short()), checks.answered(b.short())
        every_a |= a_answered
        every_b |= b_answered
        return (checks.told_of_the_end(a.short(), a_answered)
                + checks.told_of_the_end(b.short(), b_answered))
    finally:
        a.stop()
        b.stop()


def capture(where, row, calls=200, rate=20):
    """The record's times lie within a millisecond of the kernel's stamps, for 99 % of the calls;
    the node's own stamp of its INVITE for half of them."""
    if os.geteuid() != 0:
        return [], {"skipped": "a capture needs root"}
    node = Node(where / "node-capture", [row.line()])
    file = Path(tempfile.mkstemp(dir=where, suffix=".pcap")[1])
    file.chmod(0o666)
    running = []
    try:
        node.start()
        with Tcpdump(file, node.sip):
            running += pair(where / "capture", row, f"{node.sip}:5060", calls, rate, 300, log="")
            complaints = checks.sipp_went("A", running[0].wait(60), running[0].stat(), calls)
            running[1].wait(5)
            time.sleep(0.3)
        cdrs = node.cdrs_settled(calls, 10)
        late, figures = checks.close_in_time(cdrs, seen_times(file, node.sip, cdrs), calls)
        return complaints + late, figures
    finally:
        for side in running:
            side.stop()
        node.stop()


class Tcpdump:
    """A capture of one host's SIP on loopback, with the kernel's stamps in nanoseconds."""

    def __init__(self, file, host):
        self.command = ["tcpdump", "-i", "lo", "-n", "-U", "--immediate-mode", "-s", "0", "-B", "32768", "-Z", "root",
                        "--time-stamp-precision", "nano", "-w", str(file),
                        f"udp port 5060 and host {host}"]

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for line in self.process.stderr:
            if "listening on" in line:
                return self
        raise RuntimeError("tcpdump did not start")

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGINT)
        said = self.process.communicate(timeout=10)[1]
        lost = re.search(r"(\d+) packets dropped by kernel", said or "")
        if lost and lost.group(1) != "0":
            raise RuntimeError(f"the capture lost {lost.group(1)} packets")


def packets(file):
    """Each UDP packet, as (nanoseconds, source, destination, payload)."""
    data = Path(file).read_bytes()
    nano = data[:4] == struct.pack("<I", 0xA1B23C4D)
    at = 24
    while at + 16 <= len(data):
        seconds, part, length, _ = struct.unpack_from("<IIII", data, at)
        frame = data[at + 16:at + 16 + length]
        at += 16 + length
        if len(frame) < 42 or frame[12:14] != b"\x08\x00" or frame[23] != 17:
            continue
        ip = (frame[14] & 15) * 4
        source = ".".join(str(byte) for byte in frame[26:30])
        target = ".".join(str(byte) for byte in frame[30:34])
        yield (seconds * 1_000_000_000 + part * (1 if nano else 1000), source, target,
               frame[14 + ip + 8:].decode("utf-8", "replace"))


def seen_times(file, host, cdrs):
    """For each A Call-ID the record's fields as the kernel stamped them, microseconds."""
    a_of = {}
    for cdr in cdrs:
        for a in checks.legs(cdr, "A"):
            a_of.update({call_id: a for call_id in [a, *checks.legs(cdr, "B")]})
    found = {}
    for at_ns, source, target, text in packets(file):
        call, first = a_of.get(header(text, "Call-ID")), text.split("\r\n", 1)[0]
        if call is None:
            continue
        invite = "INVITE" in header(text, "CSeq")
        field = None
        if target == host:
            if first.startswith("INVITE "):
                field = "t_invite_us"
            elif first.startswith("BYE "):
                field = "t_end_us"
            elif invite and first.startswith("SIP/2.0 18"):
                field = "t_b_18x_us"
            elif invite and first.startswith("SIP/2.0 2"):
                field = "t_b_200_us"
        elif source == host and first.startswith("INVITE "):
            field = "t_invite_out_us"
        if field:
            found.setdefault(call, {}).setdefault(field, at_ns // 1000)
    return found
