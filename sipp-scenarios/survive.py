"""The row `survive`: kill -9 while calls talk; each goes on, and ends as its peers want."""

import random
import re
import socket
import struct
import threading
import time

import checks
from heavy import pair
from node import Node
from sipp import Sipp, header

# Both sides of the calls with media name this port in their SDP; SIPp itself sends no RTP here.
RTP_PORT = 6000
PACKET_S = 0.02
CALLS, VOICES, HOLD_MS = 50, 10, 12_000


def survive(where, ends_a, ends_b):
    """Fifty calls that A ends and fifty that B ends, all up at the crash; ten of them talk."""
    node = Node(where / "node-survive", [ends_a.line(), ends_b.line()])
    target, where = f"{node.sip}:5060", where / "survive"
    sides, voices = {}, None
    try:
        node.start()
        # After the restart each side is asked by OPTIONS whether it is still there: -aa answers.
        more = {"log": "msg short", "extra": ("-aa",)}
        sides["A, ended by A"], sides["B, ended by A"] = pair(
            where, ends_a, target, CALLS, 25, HOLD_MS, **more)
        sides["B, ended by B"] = Sipp(ends_b.b, where / ends_b.name, ends_b.callee, CALLS,
                                      hold_ms=HOLD_MS, **more)
        sides["A, ended by B"] = Sipp(ends_b.a, where / ends_b.name, ends_b.caller, CALLS,
                                      target=target, rate=25, service=ends_b.dialled, **more)
        time.sleep(4)
        voices = Voices(node.sip, ends_a.caller, ends_a.callee, sides["A, ended by A"].messages(),
                        sides["B, ended by A"].messages())
        voices.start()
        time.sleep(1)
        up = {name: side.stat()["current"] for name, side in sides.items()}
        killed = time.monotonic()
        node.kill()
        time.sleep(random.uniform(0.1, 1.0))
        started = time.monotonic()
        ready_s = node.start()
        complaints = []
        for name, side in sides.items():
            complaints += checks.sipp_went(name, side.wait(40), side.stat(), CALLS)
        cdrs = node.cdrs_settled(2 * CALLS, 10)
        calls = {call_id for side in sides.values() for call_id in checks.answered(side.short())}
        a_calls = {leg for cdr in cdrs for leg in checks.legs(cdr, "A")} & calls
        complaints += checks.one_cdr_each(cdrs, a_calls)
        complaints += judged(cdrs, ends_a.name, ends_b.name)
        complaints += voices.complaints(killed)
        figures = {"up_at_the_crash": up, "records": len(cdrs), "ready_again_s": round(ready_s, 3),
                   "down_s": round(started - killed, 3), **voices.figures(killed, started)}
        return complaints, figures
    finally:
        if voices:
            voices.end()
        for side in sides.values():
            side.stop()
        node.stop()


def judged(cdrs, ends_a, ends_b):
    """Every record tells of the restart, of the true end, and of the whole span."""
    found = [] if len(cdrs) == 2 * CALLS else [f"{len(cdrs)} records, wanted {2 * CALLS}"]

    def whole(connect_ms):
        "the whole call"
        return connect_ms is not None and HOLD_MS - 100 <= connect_ms <= HOLD_MS + 2000

    for route, party in ((ends_a, "dialer"), (ends_b, "customer")):
        found += checks.fields_are([cdr for cdr in cdrs if cdr["route"] == route], {
            "outcome": "connected", "recovered": True, "wall_spans": False, "end_party": party,
            "connect_ms": whole})
    return found


def ports(messages, wanted, source):
    """Where the node wants media, by its SDP in the messages that begin so, one for each call."""
    found = {}
    for sent, _, text in messages:
        body = re.search(r"(?m)^m=audio (\d+) ", text)
        if not sent and text.startswith(wanted) and "INVITE" in header(text, "CSeq") and body:
            found.setdefault(header(text, "Call-ID"), int(body.group(1)))
    return [(source, port) for port in list(found.values())[:VOICES]]


class Voices(threading.Thread):
    """One RTP stream into each of some calls from both sides, told apart by SSRC."""

    def __init__(self, node, a, b, heard_a, heard_b):
        super().__init__(daemon=True)
        self.sockets = []
        for address in (a, b):
            end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            end.bind((address, RTP_PORT))
            end.setblocking(False)
            self.sockets.append(end)
        self.targets = [ports(heard_a, "SIP/2.0 200", node), ports(heard_b, "INVITE ", node)]
        self.seen, self.sending = {}, True

    def run(self):
        due, number = time.monotonic(), 0
        while self.sending:
            for side, (end, targets) in enumerate(zip(self.sockets, self.targets)):
                for place, target in enumerate(targets):
                    head = struct.pack("!BBHII", 0x80, 8, number & 0xFFFF, number * 160 & 0xFFFFFFFF,
                                       side << 16 | place + 1)
                    end.sendto(head + bytes(160), target)
            number += 1
            due += PACKET_S
            while self.sending and (left := due - time.monotonic()) > 0:
                self.hear()
                time.sleep(min(left, 0.001))

    def hear(self):
        for end in self.sockets:
            try:
                while True:
                    packet = end.recv(2048)
                    ssrc = struct.unpack("!I", packet[8:12])[0]
                    self.seen.setdefault(ssrc, []).append(time.monotonic())
            except BlockingIOError:
                pass

    def end(self):
        self.sending = False
        self.join(2)
        for end in self.sockets:
            end.close()

    def complaints(self, killed):
        """Each stream was heard on the other side before the crash and after it."""
        streams = sum(len(targets) for targets in self.targets)
        found = [] if streams == 2 * VOICES else [f"{streams} streams, wanted {2 * VOICES}"]
        both = sum(times[0] < killed < times[-1] for times in self.seen.values())
        if both != streams:
            found.append(f"media: {both} of {streams} streams before the crash and after it")
        return found

    def figures(self, killed, started):
        """How long it was silent, and how soon after the start of the process it was not."""
        silent, again = [], []
        for times in list(self.seen.values()):
            before = [at for at in times if at <= killed]
            after = [at for at in times if at > started]
            if before and after:
                silent.append(round((after[0] - before[-1]) * 1000))
                again.append(round((after[0] - started) * 1000))
        span = lambda values: {"p50": checks.percentile(sorted(values), 0.5),
                               "max": max(values, default=None)}
        return {"media_streams": len(self.seen), "media_silent_ms": span(silent),
                "media_after_start_ms": span(again)}
