"""The rows in which SIPp meets SIPp: who, over what, and what must come of it."""

from dataclasses import dataclass, field


@dataclass
class Row:
    """One meeting of two scenarios. Each row has loopback addresses and a trunk of its own."""

    name: str
    number: int
    a: str
    b: str | None
    calls: int = 4
    rate: int = 4
    # What it shows, and the numbers of the flows whose simulated tests it repeats on real wires.
    what: str = ""
    flows: tuple = ()
    hold_ms: int = 500
    role: str = "customer-leg"
    profile: str = "voximplant-app"
    secret: str | None = None
    codes: tuple = (200,)
    within_s: float | None = None
    cdr: dict = field(default_factory=dict)
    # What the legs towards B ended with, where that is looked at.
    b_results: tuple = ()
    silent: bool = False
    # The transports of A and of B: udp, tcp (tcp-each: a connection for each call) or tls.
    by: tuple = ("udp", "udp")
    # Who is called before B: a scenario, or `silent`. `leads`: it says itself where B is.
    first: str | None = None
    leads: bool = False

    @property
    def caller(self):
        return f"127.1.{self.number}.1"

    @property
    def callee(self):
        return f"127.2.{self.number}.1"

    @property
    def other(self):
        """Where the first one is, and on A's side what makes TLS of its TCP."""
        return f"127.2.{self.number}.2"

    @property
    def prefix(self):
        agent = self.role == "agent-leg"
        return f"90{self.number:02}" if agent else f"6125550{self.number:02}"

    @property
    def dialled(self):
        return self.prefix + ("" if self.role == "agent-leg" else "00")

    @property
    def needs_node(self):
        """Whether A and B alone cannot play it."""
        return self.first or self.by[0] != self.by[1] or "tls" in self.by or self.name in BETWEEN

    def line(self):
        port = 5061 if self.by[1] == "tls" else 5060
        peers = [f"{self.by[1]}:{self.callee}:{port}"]
        if self.first:
            peers = [f"udp:{self.other}:5060", *([] if self.leads else peers)]
        line = {"name": self.name, "role": self.role, "profile": self.profile,
                "prefix": self.prefix, "peers": peers}
        return {**line, "secret": self.secret} if self.secret else line


def held_once(value):
    "at least 200 ms on hold"
    return isinstance(value, int) and value >= 200


def by_the_called_side(value):
    "agent, platform or customer"
    return value in ("agent", "platform", "customer")


def failure(value):
    "a failure that is not the called person's"
    return value in ("technical", "no_answer")


def of_the_timer(value):
    "that the session timer ran out"
    return str(value).startswith("session timer")


CONNECTED = {"outcome": "connected", "sip_final": 200}
TOLD = {**CONNECTED, "end_party": by_the_called_side, "q850": 16, "hold_count": 1}
GENERIC = {"profile": "generic-ip-trunk"}
AGENT = {"role": "agent-leg", "profile": "voximplant"}

ROWS = [
    Row("basic", 10, "uac_basic", "uas_basic", 10, 5, what="A hangs up",
        flows=(1, 17), cdr=CONNECTED),
    Row("agent", 11, "uac_basic", "uas_basic", 10, 5, what="to an agent by a line",
        flows=(1, 90), cdr=CONNECTED, **AGENT),
    Row("b_hangs_up", 12, "uac_b_hangs_up", "uas_b_hangs_up", what="B hangs up, with a Reason",
        flows=(2, 65),
        cdr={**CONNECTED, "end_party": by_the_called_side, "q850": 16}, **GENERIC),
    Row("cancel", 13, "uac_cancel", "uas_ringing", what="CANCEL after 180",
        flows=(3,), codes=(487,), cdr={"outcome": "canceled"}),
    Row("cancel_race", 14, "uac_cancel_race", "uas_cancel_race", what="CANCEL crosses 200",
        flows=(4,), codes=(487,),
        cdr={"outcome": "canceled"}),
    Row("busy", 16, "uac_refused", "uas_busy", what="486 with a Reason",
        flows=(8, 65), codes=(486,),
        cdr={"outcome": "busy", "sip_final": 486}, **GENERIC),
    Row("no_answer", 17, "uac_refused", "uas_no_answer", what="480", flows=(8,), codes=(480,),
        cdr={"outcome": "no_answer", "sip_final": 480}),
    # ICMP says that nobody is there: no timer is waited for.
    Row("nobody", 18, "uac_refused", None, what="no socket at the called address", flows=(11,),
        codes=(503,), cdr={"outcome": failure}, within_s=1),
    Row("hold", 19, "uac_reinvite_hold", "uas_reinvite", what="hold and resume", flows=(40, 41),
        cdr={**CONNECTED, "hold_count": 1, "hold_ms": held_once}),
    Row("early_media", 21, "uac_early_media", "uas_early_media", what="183 with media",
        flows=(50,), cdr=CONNECTED),
    Row("digest", 22, "uac_basic", "uas_auth", what="B's challenge",
        flows=(14,), cdr=CONNECTED, secret="s3cret", **AGENT),
    Row("transparent", 25, "uac_basic", "uas_basic", what="nothing rewritten",
        flows=(89,), cdr=CONNECTED, role="agent-leg",
        profile="transparent"),
    Row("prack", 45, "uac_prack", "uas_prack", what="reliable 183", flows=(57, 84), cdr=CONNECTED),
    Row("options", 23, "uac_options", None, what="OPTIONS of a trunk", flows=(26,), cdr=None),
    Row("tcp_a", 50, "uac_basic", "uas_basic", what="A by TCP, B by UDP",
        flows=(73,), cdr=CONNECTED,
        by=("tcp", "udp")),
    Row("tcp_b", 51, "uac_basic", "uas_basic", what="A by UDP, B by TCP",
        flows=(73,), cdr=CONNECTED,
        by=("udp", "tcp")),
    Row("tcp", 52, "a_both", "b_both", what="both by TCP, asked and asking in the call",
        flows=(2, 40, 41, 73, 78), cdr=TOLD, by=("tcp", "tcp"), **GENERIC),
    Row("tls_a", 53, "a_both", "b_both", what="A by TLS, which proves itself, B by UDP",
        flows=(2, 40, 73, 78), cdr=TOLD, by=("tls", "udp"), **GENERIC),
    Row("tls_b", 54, "a_both", "b_both", what="A by UDP, B by TLS", flows=(2, 40, 73, 78), cdr=TOLD,
        by=("udp", "tls"), **GENERIC),
    Row("tls", 55, "a_call", "b_call", what="both by TLS", flows=(1, 73), cdr=CONNECTED,
        by=("tls", "tls")),
    Row("both_ask", 56, "a_both", "b_both", what="INFO of A, re-INVITE and BYE of B",
        flows=(2, 40, 41, 78), cdr=TOLD, **GENERIC),
    Row("update", 57, "a_update", "b_update", what="hold and resume by UPDATE", flows=(41, 60),
        cdr={**CONNECTED, "hold_count": 1}),
    Row("glare", 58, "a_glare", "b_reinvite", what="re-INVITEs that cross", flows=(40, 43),
        cdr=CONNECTED),
    Row("refer", 59, "a_refer", "b_call", what="a transfer is refused, the call goes on",
        flows=(81,), cdr=CONNECTED),
    Row("late_offer", 60, "a_late_offer", "b_late_offer", what="the offer in the 200",
        flows=(53,), cdr=CONNECTED),
    Row("small_interval", 61, "a_small_interval", "b_call", what="Session-Expires below Min-SE",
        flows=(61,), codes=(422,), cdr=CONNECTED),
    Row("refreshed", 62, "a_patient", "b_refreshed", what="we refresh a session at half time",
        flows=(63, 64), cdr=CONNECTED, profile="brisk"),
    Row("forgotten", 63, "a_patient", "b_forgetful", what="a session that B does not refresh ends",
        flows=(63,), cdr={**CONNECTED, "reason_text": of_the_timer}, profile="brisk"),
    Row("failover_503", 64, "uac_basic", "uas_basic", 2, what="the first target is out of service",
        flows=(10,), cdr=CONNECTED, first="b_unavailable", b_results=(503, 200)),
    Row("failover_dead", 65, "uac_basic", "uas_basic", 2, what="the first target is silent",
        flows=(12,), cdr=CONNECTED, first="silent", b_results=(None, 200)),
    Row("redirect", 66, "uac_basic", "uas_basic", 2, what="a redirection to an allowed address",
        flows=(13,), cdr=CONNECTED, first="b_moved", leads=True, b_results=(302, 200)),
]
# What a node between does to a call, so that A and B alone cannot play it.
BETWEEN = {"glare", "refer", "small_interval", "refreshed", "forgotten", "digest"}
