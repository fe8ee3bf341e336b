"""What voice is sent through: nothing, cooee, rtpengine. Each is started, filled with calls that
stay up, frozen while another is measured, and stopped."""

import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "sipp-scenarios"))

from held import Held, sdp, voice  # noqa: E402
from node import Node  # noqa: E402

# One address and port a side for the voice of all calls: a relay tells calls apart by its ports.
MEDIA = (("127.1.30.1", 20000), ("127.2.30.1", 20000))
PREFIX, RTPENGINE = "61255", "127.4.30.1"
SETTLE_S = 0.3  # after a thaw: timers that ran out meanwhile fire first


class Direct:
    """Nothing between: the tool's own floor and ceiling."""

    name, pid = "direct", None

    def __init__(self, given, where):
        self.flows = where / "direct.json"
        self.count = 0

    def start(self):
        pass

    def version(self):
        return "nothing between"

    def grow(self, calls):
        caller, callee = ("%s:%d" % end for end in MEDIA)
        flow = {"a": {"src": caller, "dst": callee}, "b": {"src": callee, "dst": caller}}
        self.write([flow] * (calls - self.count))

    def write(self, flows):
        """Adds flows to the list that the tool reads."""
        known = json.loads(self.flows.read_text())["flows"] if self.count else []
        self.count += len(flows)
        self.flows.write_text(json.dumps({"flows": known + flows}))

    def rss_kb(self):
        return None

    def prefer(self):
        """Real-time priority for all of its threads, and so for those that they begin."""
        for task in Path(f"/proc/{self.pid}/task").iterdir() if self.pid else ():
            os.sched_setscheduler(int(task.name), os.SCHED_FIFO, os.sched_param(10))

    def freeze(self):
        if self.pid:
            os.kill(self.pid, signal.SIGSTOP)

    def thaw(self):
        if self.pid:
            os.kill(self.pid, signal.SIGCONT)
            time.sleep(SETTLE_S)

    def stop(self):
        pass


class Cooee(Direct):
    """The release binary, driven through SIP: real calls, latches that have locked."""

    # `wait` of `[media]`, and the third byte of its own addresses and those of its SIP peers.
    name, wait, net = "cooee", "balanced", 30

    def __init__(self, given, where):
        super().__init__(given, where)
        self.flows = where / f"{self.name}.json"
        self.caller, self.callee, self.sip = (f"127.{n}.{self.net}.1" for n in (1, 2, 3))
        line = {"name": "bench", "role": "customer-leg", "profile": "voximplant-app",
                "prefix": PREFIX, "peers": [f"{self.callee}:5060"]}
        self.node = Node(where / self.name, [line], cpu=given.relay_core, sip=self.sip,
                         ports="10000-19998")
        # A call that is not its turn is silent, and stays up.
        media = f'[media]\nmedia_timeout_s = 0\nwait = "{self.wait}"\n'
        self.node.config.write_text(self.node.config.read_text().replace("[media]\n", media))
        self.held = None

    def start(self):
        self.node.start()
        self.pid = self.node.process.pid
        self.held = Held(self.sip, self.caller, self.callee, MEDIA, PREFIX)

    def version(self):
        return said(str(self.node.binary), "--version")

    def command(self):
        return " ".join(["taskset", "-c", str(self.node.cpu), *self.node.command("run")])

    def grow(self, calls):
        self.write(self.held.grow(calls))

    def rss_kb(self):
        return rss_kb(self.pid)

    def stop(self):
        if self.pid:
            os.kill(self.pid, signal.SIGCONT)
        try:
            if self.held:
                self.held.hang_up()
        finally:
            if self.held:
                self.held.close()
            self.node.stop()


class Spinning(Cooee):
    """It looks for packets without sleeping."""

    name, wait, net = "cooee-latency", "latency", 31


class Ticking(Cooee):
    """It looks once in 200 us."""

    name, wait, net = "cooee-eco", "eco", 32


class Reference(Direct):
    """The least that a relay can do, in C: it passes on what comes, and nothing else."""

    name, how, ip = "c-sleep", "sleep", "127.5.30.1"

    def __init__(self, given, where):
        super().__init__(given, where)
        self.flows, self.core = where / f"{self.name}.json", given.relay_core
        self.binary, self.process = where / "reference", None
        subprocess.run(["cc", "-O2", "-o", str(self.binary), str(HERE / "reference/relay.c")],
                       check=True)

    def start(self):
        self.grow(0)

    def version(self):
        return said("cc", "--version")

    def command(self):
        return f"taskset -c {self.core} reference/relay {self.how}"

    def grow(self, calls):
        """It is begun anew: all of its calls are known from the start."""
        self.stop()
        sides = [[(self.ip, 20000 + 2 * call + side) for side in (0, 1)] for call in range(calls)]
        lines = [" ".join(f"{ip} {port}" for ip, port in (a, b, MEDIA[1], MEDIA[0]))
                 for a, b in sides]
        self.process = subprocess.Popen(
            ["taskset", "-c", str(self.core), str(self.binary), self.how], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.process.stdin.write("\n".join(lines))
        self.process.stdin.close()
        if self.process.stdout.readline() != "ready\n":
            raise RuntimeError("the reference relay has not begun")
        self.pid, self.count = self.process.pid, 0
        caller, callee = ("%s:%d" % end for end in MEDIA)
        self.write([{"a": {"src": caller, "dst": "%s:%d" % a}, "b": {"src": callee, "dst": "%s:%d" % b}}
                    for a, b in sides])

    def rss_kb(self):
        return rss_kb(self.pid)

    def stop(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()
            self.process = self.pid = None


class ReferenceSpinning(Reference):
    """It looks for packets without sleeping."""

    name, how, ip = "c-spin", "spin", "127.5.31.1"


class ReferenceTicking(Reference):
    """It looks once in 200 us."""

    name, how, ip = "c-tick", "tick", "127.5.32.1"


class Rtpengine(Direct):
    """rtpengine without its kernel module, driven over its ng protocol."""

    name = "rtpengine"

    def __init__(self, given, where):
        super().__init__(given, where)
        self.flows, self.log = where / "rtpengine.json", where / "rtpengine.log"
        self.cookies = itertools.count()
        self.process = self.ng = None
        # One worker, since it has one core; calls that are not its turn are silent and stay up.
        self.words = [
            "taskset", "-c", str(given.relay_core), shutil.which("rtpengine") or "rtpengine",
            "--config-file=none", "--foreground", "--log-stderr", "--log-level=3", "--table=-1",
            f"--interface={RTPENGINE}", f"--listen-ng={RTPENGINE}:22222", "--num-threads=1",
            "--port-min=20000", "--port-max=32000", "--timeout=86400", "--silent-timeout=86400",
            "--tos=184",
        ]

    def start(self):
        if not shutil.which("rtpengine"):
            done = subprocess.run(
                [str(HERE.parent / "tests/provide"), "rtpengine=rtpengine-daemon"],
                stdin=subprocess.DEVNULL, stdout=sys.stderr, check=False)
            if done.returncode or not shutil.which("rtpengine"):
                raise RuntimeError("rtpengine-daemon could not be installed")
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(self.words, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log)
        self.pid = self.process.pid
        self.ng = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.ng.connect((RTPENGINE, 22222))
        self.ng.settimeout(0.2)
        for _ in range(50):
            try:
                return self.ask({"command": "ping"})
            except (TimeoutError, ConnectionRefusedError):
                if self.process.poll() is not None:
                    break
                time.sleep(0.1)
        raise RuntimeError(f"rtpengine did not start: {self.log.read_text()[-500:]}")

    def version(self):
        return said("rtpengine", "--version")

    def command(self):
        return " ".join(self.words)

    def grow(self, calls):
        caller, callee = ("%s:%d" % end for end in MEDIA)
        flows = []
        for n in range(self.count, calls):
            call = {"call-id": f"bench-{n}", "from-tag": f"a{n}", "ICE": "remove",
                    "replace": ["origin"]}
            b = self.ask({**call, "command": "offer", "sdp": sdp(*MEDIA[0])})
            a = self.ask({**call, "command": "answer", "to-tag": f"b{n}", "sdp": sdp(*MEDIA[1])})
            to_a, to_b = (voice(answer["sdp"].decode()) for answer in (a, b))
            flows.append({"a": {"src": caller, "dst": to_a}, "b": {"src": callee, "dst": to_b}})
        self.write(flows)

    def ask(self, command):
        """One command of the ng protocol: a cookie, a space, bencode."""
        cookie = b"%d_%d " % (time.time_ns(), next(self.cookies))
        self.ng.send(cookie + bencode(command))
        while True:
            answer = self.ng.recv(65536)
            if answer.startswith(cookie):
                break
        told, _ = bdecode(answer[len(cookie):])
        if told.get("result") not in (b"ok", b"pong"):
            raise RuntimeError(f"rtpengine refused {command['command']}: {told}")
        return told

    def rss_kb(self):
        return rss_kb(self.pid)

    def stop(self):
        if self.ng:
            self.ng.close()
        if self.process and self.process.poll() is None:
            os.kill(self.pid, signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


RELAYS = {relay.name: relay for relay in (Direct, Cooee, Spinning, Ticking, Reference,
                                          ReferenceSpinning, ReferenceTicking, Rtpengine)}


def rss_kb(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status).group(1))


def said(*words):
    """What a command prints, either way, on one line."""
    done = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL,
                          check=False)
    return " ".join((done.stdout + done.stderr).split())


def bencode(value):
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, bytes):
        return b"%d:%s" % (len(value), value)
    if isinstance(value, list):
        return b"l" + b"".join(map(bencode, value)) + b"e"
    return b"d" + b"".join(bencode(key) + bencode(value[key]) for key in sorted(value)) + b"e"


def bdecode(data, at=0):
    """A value and where the next one begins."""
    kind = data[at:at + 1]
    if kind == b"i":
        end = data.index(b"e", at)
        return int(data[at + 1:end]), end + 1
    if kind in (b"l", b"d"):
        items, at = [], at + 1
        while data[at:at + 1] != b"e":
            item, at = bdecode(data, at)
            items.append(item)
        if kind == b"d":
            items = {key.decode(): item for key, item in zip(items[::2], items[1::2])}
        return items, at + 1
    colon = data.index(b":", at)
    end = colon + 1 + int(data[at:colon])
    return data[colon + 1:end], end
