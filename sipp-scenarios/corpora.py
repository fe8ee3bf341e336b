"""The row `corpora`: published torture messages and malformed input, where they are at hand.

They are no part of this repository: `COOEE_CORPORA` names their folder, else it is
`../shared/conformance` beside the checkout. Their own tool, `malformed/replay.py`, sends and judges.
"""

import json
import os
import re
import subprocess
import sys
import threading
import time

import checks
from hostile import bound, bridged, refusal, watched
from node import REPOSITORY, Node

CORPORA = os.environ.get("COOEE_CORPORA") or REPOSITORY.parent / "shared/conformance"
# Where the tool sends from, and a trunk that watches how soon it is answered meanwhile.
SENDERS, WATCH, CALLEE = ["127.0.0.1", "127.0.0.77"], "127.10.41.1", "127.10.41.2"
# Cases of each corpus, and into how many processes they are cut: over TCP each waits 20 ms.
MALFORMED = {("sip", "udp"): (5200, 2), ("sdp", "udp"): (2500, 1),
             ("sip", "tcp"): (5200, 4), ("sdp", "tcp"): (2500, 2)}
GROWTH_KB = 32 * 1024
TRUNKS = bridged("corpora", [*SENDERS, WATCH], CALLEE)


class Busy(threading.Thread):
    """B: refuses every INVITE, so that no case leaves a call behind."""

    def __init__(self):
        super().__init__(daemon=True)
        self.end, self.over = bound(CALLEE), False
        self.end.settimeout(0.1)

    def run(self):
        while not self.over:
            try:
                said, source = self.end.recvfrom(65535)
            except TimeoutError:
                continue
            if said.startswith(b"INVITE "):
                self.end.sendto(refusal(said), source)

    def stop(self):
        self.over = True
        self.join()
        self.end.close()


class Replays:
    """The processes of the tool."""

    def __init__(self, folder):
        self.folder, self.running = folder, []

    def begin(self, node, *words):
        command = [sys.executable, "-B", str(self.folder / "malformed/replay.py"), node.sip, "5060",
                   *map(str, words)]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, text=True)
        self.running.append(process)
        return process

    def malformed(self, node, corpus, transport):
        """Sends a corpus, cut in parts; gives what the tool printed for each."""
        cases, parts = MALFORMED[corpus, transport]
        shares = [(cases * at // parts, cases * (at + 1) // parts) for at in range(parts)]
        tcp = ["--tcp"] if transport == "tcp" else []
        parts = [self.begin(node, corpus, *tcp, "--from", first, "--to", end) for first, end in shares]
        for process in parts:
            yield process.communicate()[0]

    def stop(self):
        for process in self.running:
            if process.poll() is None:
                process.kill()
                process.wait()


def torture_verdicts(said):
    """The files of a torture run with (fine, line), from what the tool printed."""
    found = re.findall(r"(?m)^((OK|FAIL)\s+(\S+)\s+got=.*)$", said)
    return {name: (word == "OK", line) for line, word, name in found}


def torture_complaints(transport, said, manifest):
    """Over UDP all must end as the corpus accepts; over TCP those that it has for streams, and no
    message may leave the node dead."""
    verdicts, found = torture_verdicts(said), []
    for message in manifest["messages"]:
        fine, line = verdicts.get(message["file"], (False, f"{message['file']} was not sent"))
        if "DEAD" in line or not fine and transport in ("udp", message["transport"]):
            found.append(f"{transport}: {line}")
    return [*found, said[-600:]] if len(verdicts) < len(manifest["messages"]) else found


def torture_figures(said):
    verdicts = torture_verdicts(said)
    told = f"{sum(fine for fine, _ in verdicts.values())} of {len(verdicts)}"
    return [told, *(line for fine, line in verdicts.values() if not fine)]


def malformed_complaints(name, said):
    """A part of a corpus went well: every probe was answered."""
    passed = re.search(r"(?m)^(\{.*\})$\s*^PASS$", said)
    return ([], json.loads(passed[1])) if passed else ([f"{name}: {said[-600:]}"], {"sent": 0})


def corpora(where):
    """Torture and malformed input over UDP and TCP: alive, no panic, no growth, probes answered."""
    folder = REPOSITORY.joinpath(CORPORA)
    if not (folder / "malformed/replay.py").exists():
        return [], {"skipped": f"{folder} is not there; COOEE_CORPORA names another"}
    manifest = json.loads((folder / "torture/manifest.json").read_text())
    # The same messages at the same time by both transports would be merged requests: two nodes.
    node, other = (Node(where / f"node-corpora-{at}", [], sip=f"127.3.0.{6 + at}", t1_ms=50, tcp=True,
                        ports=f"{22600 + 1000 * at}-{23598 + 1000 * at}", more=TRUNKS)
                   for at in range(2))
    replays, busy, watch = Replays(folder), Busy(), bound(WATCH)
    complaints, figures = [], {}
    try:
        busy.start()
        node.start()
        other.start()
        # What other work on the machine costs: the delays below are to be seen beside these.
        until = time.monotonic() + 2
        figures["quiet"] = watched(node, watch, "quiet", lambda: time.monotonic() < until)
        before = node.rss_kb()
        # Mostly waiting, so beside the rest: the tool listens for 0.7 s after each message.
        torture = [("udp", replays.begin(node, "sip", "--torture", folder / "torture")),
                   ("tcp", replays.begin(other, "sip", "--tcp", "--torture", folder / "torture"))]
        for corpus, transport in MALFORMED:
            more, told = replayed(node, replays, watch, corpus, transport)
            complaints += more
            figures[f"{corpus}_{transport}"] = told
        for transport, process in torture:
            said = process.communicate()[0]
            complaints += torture_complaints(transport, said, manifest)
            figures[f"torture_{transport}"] = torture_figures(said)
        figures["rss_kb"] = [before, node.rss_kb()]
        complaints += checks.back_to_start("resident kB", before, node.rss_kb(), GROWTH_KB)
        return complaints + ended_well(node) + ended_well(other), figures
    finally:
        replays.stop()
        node.stop()
        other.stop()
        busy.stop()
        watch.close()


def replayed(node, replays, watch, corpus, transport):
    """One corpus, and the delays of a trunk's OPTIONS meanwhile: one that is lost is an error."""
    name, said = f"{corpus} {transport}", []
    sender = threading.Thread(target=lambda: said.extend(replays.malformed(node, corpus, transport)))
    sender.start()
    delays = watched(node, watch, name.replace(" ", ""), sender.is_alive)
    sender.join()
    complaints, sent = [], 0
    for part in said:
        more, told = malformed_complaints(name, part)
        complaints += more
        sent += told["sent"]
    if sent != MALFORMED[corpus, transport][0]:
        complaints.append(f"{name}: {sent} cases were sent")
    return complaints, {"sent": sent, "probe_ms_p50_p99_max": delays}


def ended_well(node):
    """All calls over, no thread panicked, exit code 0."""
    until = time.monotonic() + 10
    while node.metrics().get("cooee_calls", 0) and time.monotonic() < until:
        time.sleep(0.1)
    metrics = node.metrics()
    found = checks.back_to_start("cooee_calls", 0, metrics.get("cooee_calls", 0), 0)
    # Where the node refuses a connection, the case in it was never read.
    refused = metrics.get('cooee_sip_connections_cut_total{why="address"}')
    if refused != 0:
        found.append(f"{refused} connections were refused")
    if not node.stop():
        found.append("the node did not end with 0")
    if "panicked" in node.last_log():
        found.append("a thread panicked:\n" + node.last_log())
    return found
