"""Other SIP servers as subjects of the call-rate benchmark: the same calls, the same core."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
SIP = "127.3.20.1"
SIPPY = "2.5.0"

# One receiver: on one core more of them only change places. A proxy with transactions and dialogs,
# Record-Route, nothing written.
KAMAILIO = """
debug=-1
log_stderror=yes
children=1
disable_tcp=yes
listen=udp:{sip}:5060
auto_aliases=no
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "maxfwd.so"
loadmodule "siputils.so"
loadmodule "textops.so"
loadmodule "dialog.so"
{topoh}
modparam("dialog", "db_mode", 0)
modparam("dialog", "dlg_match_mode", 1)
modparam("rr", "append_fromtag", 1)
request_route {{
  if (!mf_process_maxfwd_header("10")) {{ sl_send_reply("483", "Too Many Hops"); exit; }}
  if (is_method("CANCEL")) {{ if (t_check_trans()) t_relay(); exit; }}
  if (has_totag()) {{
    if (loose_route()) {{ t_relay(); exit; }}
    if (is_method("ACK")) {{ if (t_check_trans()) t_relay(); exit; }}
    sl_send_reply("404", "Not here"); exit;
  }}
  t_check_trans();
  if (is_method("INVITE")) {{
    record_route();
    dlg_manage();
    t_relay_to_udp("{peer_host}", "{peer_port}");
    exit;
  }}
  sl_send_reply("405", "Method Not Allowed");
}}
"""
TOPOH = """loadmodule "topoh.so"
modparam("topoh", "mask_key", "a key of the benchmark")
modparam("topoh", "mask_ip", "127.3.20.9")
"""


class Peer:
    """A server that sends every call on to one address: started, asked, ended with its children."""

    def __init__(self, where, peer, cpu):
        self.where, self.peer, self.cpu = Path(where), peer, cpu
        self.where.mkdir(parents=True, exist_ok=True)
        self.sip, self.process = SIP, None

    environment = {}

    def command(self):
        raise NotImplementedError

    def start(self, seconds=10):
        self.log = open(self.where / "peer.log", "ab")
        self.process = subprocess.Popen(
            ["taskset", "-c", str(self.cpu), *self.command()], cwd=self.where,
            env={**os.environ, **self.environment}, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, start_new_session=True)
        until = time.monotonic() + seconds
        while not listens(self.sip, 5060):
            if self.process.poll() is not None or time.monotonic() > until:
                text = (self.where / "peer.log").read_text(errors="replace")[-2000:]
                self.stop()
                raise RuntimeError(f"{type(self).__name__} does not listen:\n{text}")
            time.sleep(0.05)

    def pids(self):
        """The process and all below it."""
        found, open_ = [], [self.process.pid]
        while open_:
            pid = open_.pop()
            found.append(pid)
            try:
                open_ += [int(child) for task in Path(f"/proc/{pid}/task").iterdir()
                          for child in (task / "children").read_text().split()]
            except OSError:
                pass  # it has just ended
        return found

    def rss_kb(self):
        """Resident memory; what processes share is counted once."""
        total = 0
        for pid in self.pids():
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
        return total

    def stop(self, seconds=5):
        if self.process is None:
            return
        pids = self.pids()
        for kind in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.process.pid, kind)
            except ProcessLookupError:
                break
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                self.process.poll()
                if not any(Path(f"/proc/{pid}").exists() for pid in pids):
                    break
                time.sleep(0.05)
            else:
                continue
            break
        self.process.wait()
        self.process = None
        self.log.close()


class Kamailio(Peer):
    """Kamailio as a proxy: tm and dialog."""

    topoh = ""

    def command(self):
        host, port = self.peer.split(":")
        file = self.where / "kamailio.cfg"
        file.write_text(KAMAILIO.format(sip=SIP, topoh=self.topoh, peer_host=host, peer_port=port))
        return ["kamailio", "-f", str(file), "-DD", "-E", "-m", "1024", "-M", "64",
                "-Y", str(self.where), "-w", str(self.where)]


class KamailioTopoh(Kamailio):
    """The same, hiding one side from the other."""

    topoh = TOPOH


class Sippy(Peer):
    """Sippy's B2BUA, the simple one, without its log of every message."""

    environment = {"SIPLOG_BEND": "none"}

    def command(self):
        venv = HERE.parent / "target/bench/sippy"
        if not (venv / "bin/b2bua_simple").exists():
            subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
            subprocess.run([venv / "bin/pip", "install", "-q", f"sippy=={SIPPY}"], check=True)
        return [str(venv / "bin/b2bua_simple"), "-f", "-l", SIP, "-p", "5060", "-n", self.peer]


PEERS = {"kamailio": Kamailio, "kamailio-topoh": KamailioTopoh, "sippy": Sippy}


def listens(ip, port):
    """Whether a UDP socket is bound there."""
    wanted = "".join(f"{int(part):02X}" for part in reversed(ip.split("."))) + f":{port:04X}"
    return any(line.split()[1] == wanted
               for line in Path("/proc/net/udp").read_text().splitlines()[1:])
