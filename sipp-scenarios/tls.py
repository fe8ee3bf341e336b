"""TLS for SIPp, which here speaks none: stunnel beside it, and certificates made for the run."""

import subprocess
import time
from contextlib import contextmanager
from pathlib import Path


def papers(where, *addresses):
    """An authority in `ca.pem`, and `end.pem` with `end.key` that is good for these addresses."""
    where.mkdir(parents=True, exist_ok=True)
    usual = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
             "-nodes", "-days", "2"]
    names = ",".join(f"IP:{address}" for address in addresses)
    for more in (["-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.pem",
                  "-addext", "basicConstraints=critical,CA:TRUE"],
                 ["-subj", "/CN=end", "-keyout", "end.key", "-out", "end.pem", "-CA", "ca.pem",
                  "-CAkey", "ca.key", "-addext", "basicConstraints=critical,CA:FALSE",
                  "-addext", f"subjectAltName={names}"]):
        subprocess.run([*usual, *more], cwd=where, check=True, capture_output=True,
                       stdin=subprocess.DEVNULL)
    return where


@contextmanager
def stunnel(*words):
    """A [`Stunnel`] for as long as it is needed."""
    running = Stunnel(*words)
    try:
        yield running
    finally:
        running.stop()


class Stunnel:
    """TCP on one side, TLS on the other. Both sides of the TLS prove themselves.

    Towards a peer it comes from `source` and wants the certificate of that peer's address.
    """

    def __init__(self, where, papers_at, accept, connect, source=None):
        self.accept = accept
        lines = ["foreground = yes", "pid =", "syslog = no", "socket = l:TCP_NODELAY=1",
                 "socket = r:TCP_NODELAY=1", "[sip]", f"accept = {accept}", f"connect = {connect}",
                 f"cert = {papers_at / 'end.pem'}", f"key = {papers_at / 'end.key'}",
                 f"CAfile = {papers_at / 'ca.pem'}", "verifyChain = yes"]
        if source:
            lines += ["client = yes", f"local = {source}", f"checkIP = {connect.split(':')[0]}"]
        where.mkdir(parents=True, exist_ok=True)
        config = Path(where) / f"stunnel-{accept}.conf"
        config.write_text("\n".join([*lines, ""]))
        self.log = config.with_suffix(".log")
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(["stunnel", config], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=subprocess.STDOUT)
        until_listening(self, accept, "tcp")

    def errors(self):
        """The end of what it said."""
        return self.log.read_text(errors="replace")[-600:]

    def stop(self):
        self.process.terminate()
        self.process.wait()


def until_listening(side, at, kind, seconds=10):
    """Waits until the process of `side` has its socket, so that nothing is lost to its start."""
    address, _, port = at.partition(":")
    wanted = ("%02X%02X%02X%02X" % tuple(reversed([int(part) for part in address.split(".")]))
              + ":%04X" % int(port))
    until = time.monotonic() + seconds
    while time.monotonic() < until and side.process.poll() is None:
        rows = Path(f"/proc/net/{kind}").read_text().splitlines()[1:]
        # A TCP socket is of use once it listens (0A).
        if any(row.split()[1] == wanted and (kind == "udp" or row.split()[3] == "0A") for row in rows):
            return
        time.sleep(0.01)
    raise RuntimeError(f"nobody bound {at}: {side.errors()}")
