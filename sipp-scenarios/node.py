"""One cooee under test: its configuration, its process, and what it says of itself."""

import json
import os
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
DID = "+61270100001"
SIP = "127.3.0.1"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def configuration(data_dir, journal_dir, admin, lines, *, sip=SIP, t1_ms=500, ports="12000-19998",
                  max_cps=2000, media_mode="relay", hooks=None, tcp=False, papers=None, more=""):
    """A `cooee.toml` with the trunk `unitalk` on the A side and one trunk and route per line.

    A line is a dict: name, role, profile, prefix (of the number dialled), peers (each the peer of a
    trunk, called in this order), for a digest also secret, for a line of a portal portal_line and
    answer_source. `hooks` is where portals may post, `tcp` says that SIP is spoken over TCP too, with `papers` (tls.py) over TLS too, `more` stands
    at the end.
    """
    binds, streams = [f"udp:{sip}:5060"], ""
    if tcp:
        # One address here stands for many peers.
        binds, streams = [*binds, f"tcp:{sip}:5060"], "streams = { per_address = 1000 }\n"
    if papers:
        binds.append(f"tls:{sip}:5061")
        files = {"certificate": "end.pem", "key": "end.key", "client_ca": "ca.pem", "ca": "ca.pem"}
        named = ", ".join(f'{key} = "{papers / name}"' for key, name in files.items())
        streams += f"tls = {{ {named} }}\n"
    hooks_bind = f'hooks_bind = "{hooks}"\n' if hooks else ""
    head = f"""\
version = 1

[node]
id = "sipp-1"
timezone = "Australia/Sydney"
data_dir = "{data_dir}"
journal_dir = "{journal_dir}"
drain_seconds = 5

[sip]
bind = {json.dumps(binds)}
{streams}advertise = "{sip}"
max_cps = {max_cps}
max_sessions = 20000
t1_ms = {t1_ms}
options_ping = {{ interval_s = 0 }}

[media]
bind = "{sip}"
advertise = "{sip}"
ports = "{ports}"
mode = "{media_mode}"

[admin]
bind = "127.0.0.1:{admin}"
auth = "none"
{hooks_bind}
[log]
level = "warn"

[[did]]
number = "{DID}"
state = "SA"
owned = true

[caller_id]
default = "{DID}"
strategy = ["default"]

[[trunk]]
name = "unitalk"
profile = "unitalk"
allow = ["127.1.0.0/16"]
shared_source = false
limits = {{ cps = {max_cps}, sessions = 20000 }}
"""
    parts = [head]
    for line in lines:
        keys = "".join(f'{key} = "{line[key]}"\n' for key in ("secret", "portal_line") if key in line)
        names = [f"vox-{line['name']}{'-' * at}" for at in range(len(line["peers"]))]
        chain = ", ".join(f'{{ target = "trunk:{name}", timeout_s = 30 }}' for name in names)
        parts += [f"""
[[trunk]]
name = "{name}"
profile = "{line['profile']}"
vars = {{ account_domain = "vox.example", login = "sip12", line = "sip12", app = "app", \
account = "acc" }}
{keys}peers = ["{peer}"]
limits = {{ cps = {max_cps}, sessions = 20000 }}
""" for name, peer in zip(names, line["peers"])]
        parts.append(f"""
[[route]]
name = "{line['name']}"
role = "{line['role']}"
from = "unitalk"
when = {{ field = "to", op = "regex", value = '^\\+?{line['prefix']}' }}
chain = [ {chain} ]
answer_source = "{line.get('answer_source', 'sip200')}"
""")
    return "".join([*parts, more])


def webhook(receiver, name="ops", **keys):
    """A `[[webhook]]` that tells a receiver."""
    given = {"name": name, "url": receiver.url, "secret": receiver.secret, **keys}
    return "\n[[webhook]]\n" + "".join(f"{key} = {json.dumps(value)}\n"
                                       for key, value in given.items())


class Node:
    """Starts, asks, kills and restarts one cooee on one data directory."""

    def __init__(self, where, lines, cpu=None, **settings):
        self.where = Path(where)
        self.where.mkdir(parents=True, exist_ok=True)
        self.sip, self.papers = settings.get("sip", SIP), settings.get("papers")
        self.admin = free_port()
        self.cpu = cpu
        self.config = self.where / "cooee.toml"
        data_dir = self.where / "data"
        data_dir.mkdir(exist_ok=True)
        # The journal's head wants tmpfs and a directory of its own, gone with this process.
        shared = "/dev/shm" if Path("/dev/shm").is_dir() else None
        self.head = tempfile.TemporaryDirectory(prefix="cooee-head-", dir=shared)
        self.config.write_text(
            configuration(data_dir, self.head.name, self.admin, lines, **settings))
        self.binary = Path(os.environ.get("COOEE_BIN", REPOSITORY / "target/release/cooee"))
        self.process = None

    def command(self, *words):
        return [str(self.binary), *words, "--config", str(self.config)]

    def start(self, seconds=10):
        """Starts it and waits until it is ready; gives the seconds that took."""
        began = time.monotonic()
        pin = ["taskset", "-c", str(self.cpu)] if self.cpu is not None else []
        self.log = open(self.where / "cooee.log", "ab")
        self.process = subprocess.Popen(
            pin + self.command("run"), cwd=REPOSITORY, stdin=subprocess.DEVNULL,
            stdout=self.log, stderr=self.log)
        while time.monotonic() - began < seconds:
            if self.process.poll() is not None:
                raise RuntimeError(f"cooee ended with {self.process.returncode}:\n{self.last_log()}")
            if self.ready():
                return time.monotonic() - began
            time.sleep(0.01)
        raise RuntimeError(f"cooee was not ready within {seconds} s:\n{self.last_log()}")

    def ready(self):
        try:
            self.get("/readyz", timeout=1)
            return True
        except (OSError, urllib.error.URLError):
            return False

    def get(self, path, timeout=10):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}{path}", timeout=timeout) as answer:
            return answer.read().decode()

    def latency(self):
        """The histograms by name; spans in nanoseconds."""
        return by_name(json.loads(self.get("/v1/latency")))

    def metrics(self):
        """Every series of the exposition, by name with labels."""
        found = {}
        for line in self.get("/metrics").splitlines():
            if line and not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                found[name] = float(value)
        return found

    def cdrs(self):
        """All call detail records with their legs, from `cooee cdr export --json`."""
        done = subprocess.run(self.command("cdr", "export", "--json"), capture_output=True,
                              text=True, stdin=subprocess.DEVNULL, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"cdr export ended with {done.returncode}: {done.stderr}")
        calls = [json.loads(line) for line in done.stdout.splitlines()]
        return [{**call["cdr"], "legs": call["legs"], "media": call["media"]} for call in calls]

    def cdrs_settled(self, wanted, seconds=10):
        """The records, once there are as many as wanted or the time is over."""
        until = time.monotonic() + seconds
        while True:
            found = self.cdrs()
            if len(found) >= wanted or time.monotonic() > until:
                return found
            time.sleep(0.1)

    def outbox_emptied(self, seconds):
        """Waits until no webhook has anything to wait for; gives a complaint where that takes long.

        What the database reads later may be an event too, so it must have stood still as well. Its
        figures are set once a second.
        """
        until, quiet, before = time.monotonic() + seconds, 0, None
        while quiet < 6:
            metrics = self.metrics()
            stood = [metrics.get(f"cooee_store_{name}") for name in ("facts_total", "lag_records")]
            letters = json.loads(self.get("/v1/outbox?state=waiting&limit=1000"))["rows"]
            quiet = quiet + 1 if stood == before and not letters else 0
            before = stood
            if time.monotonic() > until:
                return [f"{len(letters)} events still wait in the outbox after {seconds} s"]
            time.sleep(0.4)
        return []

    def pids(self):
        return [self.process.pid]

    def rss_kb(self):
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        return 0

    def last_log(self):
        path = self.where / "cooee.log"
        return path.read_text(errors="replace")[-3000:] if path.exists() else ""

    def kill(self):
        """As a crash would: SIGKILL."""
        self.process.kill()
        self.process.wait()

    def stop(self, seconds=15):
        """As an operator would: SIGTERM, drain, exit. True where it went with 0 in time."""
        if self.process is None or self.process.poll() is not None:
            return False
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(seconds) == 0
        except subprocess.TimeoutExpired:
            self.kill()
            return False
        finally:
            self.log.close()


def by_name(value):
    """Finds every object with a `name` and a `count`, wherever it stands."""
    found = {}
    if isinstance(value, list):
        for inner in value:
            found.update(by_name(inner))
    elif isinstance(value, dict):
        if "name" in value and "count" in value:
            found[value["name"]] = value
        else:
            for name, inner in value.items():
                if isinstance(inner, dict) and "count" in inner:
                    found[inner.get("name", name)] = inner
                else:
                    found.update(by_name(inner))
    return found
