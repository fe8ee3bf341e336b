"""One SIPp process: started, awaited, read out."""

import csv
import re
import subprocess
from pathlib import Path

import script
from tls import until_listening

HERE = Path(__file__).resolve().parent
# What SIPp calls its ways to speak; what makes TLS of TCP stands beside it (tls.py).
SOCKETS = {"udp": "u1", "tcp": "t1", "tcp-each": "tn", "tls": "t1"}


class Sipp:
    """Runs one scenario in a directory of its own; its logs stay there until the run is over."""

    def __init__(self, scenario, where, local, calls, *, target=None, rate=5, hold_ms=500,
                 service="s", customer="61491570156", numbers=None, port=5060, log="msg",
                 timeout_s=60, cpu=None, limit=None, by="udp", extra=()):
        self.scenario, self.calls, self.local = scenario, calls, local
        self.dir = Path(where) / scenario
        while self.dir.exists():
            self.dir = self.dir.with_name(self.dir.name + "+")
        self.dir.mkdir(parents=True)
        path = HERE / f"{scenario}.xml"
        if not path.exists():
            path = self.dir / "scenario.xml"
            path.write_text(script.xml(scenario, tls=by == "tls"))
        command = [
            "sipp", "-sf", str(path), "-t", SOCKETS[by], "-i", local, "-p", str(port),
            "-m", str(calls), "-d", str(hold_ms), "-s", service, "-key", "customer", customer,
            "-cid_str", f"{self.dir.parent.name}-{scenario}-%u-%p@%s", "-key", "rtp_port", "6000",
            "-nostdin", "-timer_resol", "1", "-watchdog_interval", "0", "-fd", "1",
            "-trace_stat", "-stf", "stat.csv", "-trace_err", "-error_file", "errors.log",
            "-timeout", f"{timeout_s}s", "-timeout_error", "-mi", local,
            "-mp", "6002", *extra,
        ]
        if "msg" in log:
            command += ["-trace_msg", "-message_file", "messages.log"]
        if "short" in log:
            command += ["-trace_shortmsg", "-shortmessage_file", "short.csv"]
        if target:
            command += ["-r", str(rate), "-l", str(limit or max(calls, 1)), target]
        if numbers:
            command += ["-inf", str(HERE / numbers)]
        if cpu is not None:
            command = ["taskset", "-c", str(cpu), *command]
        # A second of PCMA that differs in every packet: own work, nothing recorded.
        audio = bytes((at * 37 + at // 160 * 11) & 0xFF for at in range(8000))
        (self.dir / "media.alaw").write_bytes(audio)
        self.out = open(self.dir / "screen.log", "wb")
        self.process = subprocess.Popen(command, cwd=self.dir, stdin=subprocess.DEVNULL,
                                        stdout=self.out, stderr=subprocess.STDOUT)
        self.port = port
        if not target:
            until_listening(self, f"{local}:{port}", "udp" if by == "udp" else "tcp")

    def wait(self, seconds):
        """Its exit code (0: every call went as written), or None after so many seconds."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def stop(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.out.close()

    def stat(self):
        """The last row of the statistics, cumulative counts."""
        try:
            with open(self.dir / "stat.csv", newline="") as file:
                rows = list(csv.reader(file, delimiter=";"))
        except OSError:
            rows = []
        last = dict(zip(rows[0], rows[-1])) if len(rows) > 1 else {}

        def count(name):
            return int(last.get(name) or 0)

        return {
            "created": count("TotalCallCreated"),
            "ok": count("SuccessfulCall(C)"),
            "failed": count("FailedCall(C)"),
            "current": count("CurrentCall"),
            "retransmissions": count("Retransmissions(C)"),
            "out_of_call": count("OutOfCallMsgs(C)"),
            "dead_call": count("DeadCallMsgs(C)"),
        }

    def errors(self):
        """What SIPp complained about, the beginning of it."""
        for name in ("errors.log", "screen.log"):
            path = self.dir / name
            text = path.read_text(errors="replace").strip() if path.exists() else ""
            if text:
                return text[:1500]
        return "nothing"

    def messages(self):
        """Every message, as (sent, seconds, text). Needs `log="msg"`."""
        path = self.dir / "messages.log"
        text = path.read_bytes().decode("utf-8", "replace") if path.exists() else ""
        mark = re.compile(r"-{20,} (\d{4}-\d\d-\d\d)[ \t](\d\d):(\d\d):(\d\d\.\d+)\n"
                          r"\w+ message (sent|received)[^\n]*\n")
        found, parts = [], mark.split(text)
        for at in range(1, len(parts) - 5, 6):
            _, hours, minutes, seconds, way, body = parts[at:at + 6]
            clock = int(hours) * 3600 + int(minutes) * 60 + float(seconds)
            found.append((way == "sent", clock, body.strip("\n")))
        return found

    def short(self):
        """Every message, as (sent, Call-ID, CSeq, first line). Needs `log="short"`."""
        path = self.dir / "short.csv"
        found = []
        for line in path.read_text(errors="replace").splitlines() if path.exists() else []:
            fields = line.split("\t")
            if len(fields) >= 7:
                found.append((fields[3] == "S", *fields[4:7]))
        return found


def header(message, name):
    """A header's value in a message, or an empty string."""
    found = re.search(rf"(?im)^{re.escape(name)}[ \t]*:[ \t]*(.*?)[ \t\r]*$", message)
    return found.group(1) if found else ""
