"""The rows that mean harm: torture cases on the wire, and a stranger that floods the node."""

import json
import random
import re
import socket
import threading
import time
from pathlib import Path

import checks
from heavy import RSS_SLACK_KB, pair
from node import Node

CASES = Path(__file__).resolve().parent.parent / "tests/torture/cases.txt"
CALLER, CALLEE, VICTIM, STRANGER = "127.10.40.1", "127.10.40.2", "127.10.40.9", "127.66.40.1"
HEADS = ("Via: SIP/2.0/UDP a.example;branch=z9hG4bK{name}\r\n"
         "From: <sip:+61280001111@a.example>;tag={name}\r\nTo: <sip:+61491570156@cooee.example>\r\n"
         "Call-ID: {name}@a.example\r\nContact: <sip:a@a.example>\r\nMax-Forwards: 70")
SDP = ("v=0\r\no=- 1 1 IN IP4 192.0.2.40\r\ns=-\r\nc=IN IP4 192.0.2.40\r\nt=0 0\r\n"
       "m=audio 4000 RTP/AVP 8 101\r\na=rtpmap:101 telephone-event/8000")
OFFER = f"Content-Type: application/sdp\r\nContent-Length: {len(SDP) + 2}\r\n\r\n{SDP}"


class Case:
    """One message of the table in tests/torture, whose head says how it is written."""

    def __init__(self, marks, lines):
        _, self.name, wanted, *_ = marks[0].split(" ", 3)
        self.wanted = wanted.split("|")
        self.holds = []
        for mark in marks[1:]:
            side, how, text = mark[1:].split(" ", 2)
            self.holds.append((side, how, undone(self.filled(text))))
        while lines and not lines[-1]:
            lines = lines[:-1]
        text = "".join(self.filled(line) + "\r\n" for line in lines)
        head, _, body = (text if "\r\n\r\n" in text else text + "\r\n").partition("\r\n\r\n")
        head = head.replace("{length}", str(len(undone(body))))
        self.bytes = undone(f"{head}\r\n\r\n{body}")

    def filled(self, line):
        line = line.replace("{heads}", HEADS).replace("{offer}", OFFER).replace("{name}", self.name)
        return re.sub(r"\{(\d+)\*([^}]*)\}", lambda found: found[2] * int(found[1]), line)


def undone(text):
    """The bytes of a text, its \\xNN and \\\\ undone."""
    return re.sub(rb"\\(?:x([0-9a-f]{2})|\\)",
                  lambda found: bytes([int(found[1], 16)]) if found[1] else b"\\", text.encode())


def cases(text):
    """All cases of a table."""
    found = []
    for line in text.split("\n"):
        if line.startswith("@case "):
            found.append(([line], []))
        elif found and not line.startswith("# "):
            found[-1][1 if not line.startswith("@") else 0].append(line)
    return [Case(marks, lines) for marks, lines in found]


def judged(case, answers, invites):
    """What is wrong with how a case ended: the answers that A got, the INVITEs that B got."""
    codes = [int(answer[8:11]) for answer in answers]
    finals = [code for code in codes if code >= 200]
    word = str(finals[-1]) if finals else "dial" if invites else "pending" if codes else "drop"
    found = [] if word in case.wanted else [f"ended with {word}, wanted {'|'.join(case.wanted)}"]
    if len(finals) > 1 or len(invites) > 1:
        found.append(f"answers {codes}, {len(invites)} INVITEs")
    if sum(map(len, answers)) > 3 * len(case.bytes):
        found.append(f"{sum(map(len, answers))} bytes for {len(case.bytes)}")
    for side, how, text in case.holds:
        if (text in b"".join(answers if side == "a" else invites)) != (how == "has"):
            found.append(f"not so: {side} {how} {text!r}")
    return [f"{case.name}: {complaint}" for complaint in found]


def bound(address, port=5060):
    end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    end.bind((address, port))
    end.settimeout(5)
    return end


def waiting(end):
    """What has come to a socket so far."""
    found = []
    end.setblocking(False)
    try:
        while True:
            found.append(end.recv(65535))
    except BlockingIOError:
        return found
    finally:
        end.settimeout(5)


def probe(via, number):
    """An OPTIONS; its answer comes after all that came of the messages before it."""
    return (f"OPTIONS sip:cooee.example SIP/2.0\r\nVia: SIP/2.0/UDP {via};branch=z9hG4bKprobe{number}\r\n"
            f"From: <sip:p@a.example>;tag=p\r\nTo: <sip:cooee.example>\r\nCall-ID: probe{number}\r\n"
            "CSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\n\r\n").encode()


def until_answered(end, node, message, mark):
    """Sends a probe and gives all that came up to its answer; an error after five seconds."""
    end.sendto(message, (node.sip, 5060))
    found = []
    while not found or mark not in found[-1]:
        found.append(end.recv(65535))
    return found


def refusal(invite):
    """B's 486: what it answers to every INVITE, so that no case leaves a call behind."""
    kept = [line for line in invite.split(b"\r\n")
            if line.split(b":")[0] in (b"Via", b"From", b"To", b"Call-ID", b"CSeq")]
    return b"\r\n".join([b"SIP/2.0 486 Busy Here", *kept, b"Content-Length: 0", b"", b""]).replace(
        b"\r\nCall-ID", b";tag=b\r\nCall-ID")


def bridged(name, callers, callee):
    """Configuration that sends whatever these addresses ask on to one, as it is."""
    return f"""
[[trunk]]
name = "{name}-a"
profile = "transparent"
allow = {json.dumps(callers)}

[[trunk]]
name = "{name}-b"
profile = "transparent"
peers = ["udp:{callee}:5060"]

[[route]]
name = "{name}"
role = "agent-leg"
from = "{name}-a"
chain = [ {{ target = "trunk:{name}-b", timeout_s = 30 }} ]
"""


def torture(where):
    """Every case of the project's own corpus over UDP, one after the other, against one node."""
    more = bridged("torture", [CALLER], CALLEE)
    node = Node(where / "node-torture", [], sip="127.3.0.4", t1_ms=50, ports="20400-20598", more=more)
    a, b, victim, stranger = (bound(ip) for ip in (CALLER, CALLEE, VICTIM, STRANGER))
    complaints, every, sent, got = [], cases(CASES.read_text()), 0, 0
    try:
        node.start()
        for number, case in enumerate(every):
            a.sendto(case.bytes, (node.sip, 5060))
            answers = until_answered(a, node, probe("a.example", number), b"probe%d\r\n" % number)
            answers = [answer for answer in answers if case.name.encode() in answer]
            invites = [said for said in waiting(b) if said.startswith(b"INVITE ")]
            complaints += judged(case, answers, invites)
            sent, got = sent + len(case.bytes), got + sum(map(len, answers))
            for invite in invites:
                b.sendto(refusal(invite), (node.sip, 5060))
        complaints += spoofed(node, a, victim, stranger)
        calls = node.metrics().get("cooee_calls", 0)
        complaints += checks.back_to_start("cooee_calls", 0, calls, 0)
        if not node.stop():
            complaints.append("the node did not end with 0")
        if "panicked" in node.last_log():
            complaints.append("a thread panicked:\n" + node.last_log())
        return complaints, {"cases": len(every), "bytes": [sent, got]}
    finally:
        node.stop()
        for end in (a, b, victim, stranger):
            end.close()


def spoofed(node, a, victim, stranger):
    """Answers go to the source; a Via that names somebody else brings nobody anything."""
    heard = until_answered(a, node, probe(f"{VICTIM}:5060", "spoof"), b"probespoof")
    complaints = [] if heard[-1].startswith(b"SIP/2.0 200") else ["no answer at the source"]
    for via in (f"{VICTIM}:5060;maddr={VICTIM}", f"{STRANGER};rport"):
        stranger.sendto(probe(via, "stranger"), (node.sip, 5060))
    until_answered(a, node, probe("a.example", "last"), b"probelast")
    for name, end in (("somebody in Via", victim), ("a stranger", stranger)):
        if said := waiting(end):
            complaints.append(f"{name} was sent {len(said)} messages")
    return complaints


def flood(where, row, seconds=6):
    """S6: a stranger sends half a megabyte a second; nobody answers it, and calls go on.

    Call set-up (A's INVITE to B's 2xx, by the kernel's stamps) is told with and without; other work
    on the machine moves it, so it is looked at and is no condition.
    """
    more = f'\n[[trunk]]\nname = "watch"\nprofile = "transparent"\nallow = ["{CALLER}"]\n'
    node = Node(where / "node-flood", [row.line()], sip="127.3.0.5", ports="20600-22598", more=more)
    watch, stranger = bound(CALLER), bound(STRANGER)
    target, running, rate = f"{node.sip}:5060", [], 20
    complaints, figures, seen = [], {}, set()
    try:
        node.start()
        for phase in ("quiet", "flood"):
            running += pair(where / phase, row, target, rate * seconds, rate, 500, log="")
            before, flooding = node.rss_kb(), threading.Event()
            sender = Flood(stranger, node.sip, flooding)
            if phase == "flood":
                sender.start()
            until = time.monotonic() + seconds
            delays = watched(node, watch, phase, lambda: time.monotonic() < until)
            flooding.set()
            a, b = running[-2:]
            complaints += checks.sipp_went(f"{phase} A", a.wait(60), a.stat(), a.calls)
            complaints += checks.sipp_went(f"{phase} B", b.wait(10), b.stat(), b.calls)
            figures[phase] = {"options_ms": delays, "setup_ms": setup_ms(node, seen, a.calls),
                              "rss_kb": [before, node.rss_kb()], "calls": a.stat(),
                              "sent": [sender.messages, sender.bytes]}
            if phase == "flood":
                sender.join()
                grown = node.rss_kb() - before
                if grown > RSS_SLACK_KB:
                    complaints.append(f"grew by {grown} kB under a flood of {sender.bytes} bytes")
                if sender.messages < 100 * seconds:
                    complaints.append(f"only {sender.messages} messages were sent: no flood")
        if said := waiting(stranger):
            complaints.append(f"the stranger was sent {len(said)} messages")
        quiet, flooded = (figures[phase]["setup_ms"][1] for phase in ("quiet", "flood"))
        figures["setup_p99_ratio"] = round(flooded / quiet, 2)
        return complaints, figures
    finally:
        for side in running:
            side.stop()
        node.stop()
        watch.close()
        stranger.close()


def watched(node, end, phase, going):
    """The delays of an OPTIONS of a trunk every 20 ms, as p50, p99 and the longest, in milliseconds.

    None is sent twice: one without an answer is an error.
    """
    spans = []
    while going():
        name = f"{phase}{len(spans)}x"
        began = time.monotonic()
        until_answered(end, node, probe("a.example", name), f"probe{name}".encode())
        spans.append((time.monotonic() - began) * 1000)
        time.sleep(0.02)
    return percentiles(spans)


def setup_ms(node, seen, calls):
    """How long calls took to come up that were not seen before."""
    cdrs = [cdr for cdr in node.cdrs_settled(len(seen) + calls) if cdr["id"] not in seen]
    seen.update(cdr["id"] for cdr in cdrs)
    return percentiles([(cdr["t_b_200_us"] - cdr["t_invite_us"]) / 1000 for cdr in cdrs])


def percentiles(spans):
    """p50, p99 and the longest."""
    spans = sorted(spans)
    return [round(checks.percentile(spans, share), 2) for share in (0.5, 0.99, 1)]


class Flood(threading.Thread):
    """Requests of a stranger, each for a call of its own, some of them broken."""

    def __init__(self, end, target, stopped, rate=500_000):
        super().__init__(daemon=True)
        self.end, self.target, self.stopped, self.rate = end, (target, 5060), stopped, rate
        self.messages = self.bytes = 0

    def run(self):
        dice, began = random.Random(1), time.monotonic()
        while not self.stopped.is_set():
            while self.bytes < self.rate * (time.monotonic() - began):
                message = self.message(dice)
                self.end.sendto(message, self.target)
                self.messages += 1
                self.bytes += len(message)
            time.sleep(0.005)

    @staticmethod
    def message(dice):
        method, name = dice.choice(("INVITE", "REGISTER", "MESSAGE", "BYE")), dice.getrandbits(64)
        text = (f"{method} sip:+61491570156@cooee.example SIP/2.0\r\n"
                f"Via: SIP/2.0/UDP x{name}.example;rport;branch=z9hG4bK{name}\r\n"
                f"From: <sip:{name}@x.example>;tag={name}\r\nTo: <sip:b@cooee.example>\r\n"
                f"Call-ID: {name}\r\nCSeq: 1 {method}\r\nContact: <sip:x{name}@x.example>\r\n"
                f"X-Fill: {'x' * dice.randrange(600)}\r\n\r\n{SDP}\r\n").encode()
        if dice.random() < 0.2:
            at = dice.randrange(len(text))
            text = text[:at] + dice.randbytes(8) + text[at + 8:]
        return text
