"""The checks themselves: each passes on what is right and complains about one planted fault."""

import unittest

import checks


def cdr(name, **more):
    legs = [{"side": "A", "sip_call_id": f"a-{name}"}, {"side": "B", "sip_call_id": f"b-{name}"}]
    return {"id": name, "legs": legs, "outcome": "connected", "t_invite_us": 1_000_000,
            "t_invite_out_us": 1_000_300, "t_b_200_us": 1_500_000, "t_end_us": 2_000_000, **more}


STAT = {"created": 2, "ok": 2, "failed": 0, "current": 0, "retransmissions": 0}


class Checks(unittest.TestCase):
    def test_sipp_must_end_well(self):
        self.assertEqual(checks.sipp_went("A", 0, STAT, 2), [])
        self.assertEqual(len(checks.sipp_went("A", None, STAT, 2)), 1)
        self.assertEqual(len(checks.sipp_went("A", 1, {**STAT, "ok": 1, "failed": 1}, 2)), 3)

    def test_one_record_for_each_call(self):
        self.assertEqual(checks.one_cdr_each([cdr("x"), cdr("y")], {"a-x", "a-y"}), [])
        self.assertEqual(len(checks.one_cdr_each([cdr("x")], {"a-x", "a-y"})), 1)
        self.assertEqual(len(checks.one_cdr_each([cdr("x"), cdr("x")], {"a-x"})), 2)

    def test_fields(self):
        self.assertEqual(checks.fields_are([cdr("x")], {"outcome": "connected"}), [])
        self.assertEqual(len(checks.fields_are([cdr("x")], {"outcome": "busy"})), 1)
        self.assertEqual(len(checks.fields_are([cdr("x")], {"t_end_us": lambda at: at < 0})), 1)

    def test_the_legs_are_apart(self):
        self.assertEqual(checks.legs_are_apart([cdr("x")], {"b-x"}), [])
        self.assertEqual(len(checks.legs_are_apart([cdr("x")], {"b-y"})), 1)

    def test_one_try_at_most_is_answered(self):
        legs = [{"side": "A", "result": 200}, {"side": "B", "result": 503}, {"side": "B", "result": 200}]
        self.assertEqual(checks.b_results_are([cdr("x", legs=legs)], (503, 200)), [])
        self.assertEqual(len(checks.b_results_are([cdr("x", legs=legs)], (200,))), 1)

    def test_each_side_is_told_its_transport(self):
        ok = (False, 1.0, "SIP/2.0 200 OK\nVia: x\nContact: <sip:127.0.0.1:5060;transport=tcp>\n")
        invite = "INVITE sip:b SIP/2.0\nVia: SIP/2.0/TLS 127.0.0.1:5061;branch=x\n"
        self.assertEqual(checks.spoken_by(("tcp", "tls"), [ok], invite), [])
        self.assertEqual(len(checks.spoken_by(("udp", "tls"), [ok], invite)), 1)
        self.assertEqual(len(checks.spoken_by(("tls", "udp"), [ok], invite)), 2)

    def test_a_crash_loses_nothing(self):
        records = [cdr("x"), cdr("y")]
        self.assertEqual(checks.crash_lost_nothing(records, {"a-x"}, {"b-x", "b-y"}), [])
        self.assertEqual(len(checks.crash_lost_nothing(records, {"a-z"}, {"b-x"})), 1)
        self.assertEqual(len(checks.crash_lost_nothing([*records, cdr("x")], {"a-x"}, set())), 1)

    def test_the_end_is_told(self):
        log = [(True, "x", "CSeq:1 INVITE", "INVITE sip:b SIP/2.0"),
               (False, "x", "CSeq:1 INVITE", "SIP/2.0 200 OK"),
               (True, "x", "CSeq:2 BYE", "BYE sip:b SIP/2.0")]
        self.assertEqual(checks.answered(log), {"x"})
        self.assertEqual(len(checks.told_of_the_end(log, {"x"})), 1, "a BYE into the void")
        for last in ((False, "x", "CSeq:2 BYE", "SIP/2.0 200 OK"),
                     (False, "x", "CSeq:9 BYE", "BYE sip:a SIP/2.0")):
            self.assertEqual(checks.told_of_the_end([*log, last], {"x"}), [])

    def test_times_lie_close(self):
        seen = {"a-x": {"t_invite_us": 1_000_200, "t_invite_out_us": 1_000_300,
                        "t_b_200_us": 1_500_000, "t_end_us": 2_000_999}}
        complaints, figures = checks.close_in_time([cdr("x")], seen, 1)
        self.assertEqual(complaints, [])
        self.assertEqual(figures["t_invite_us"]["max_us"], 200)
        far = {"a-x": {**seen["a-x"], "t_end_us": 2_001_001}}
        self.assertEqual(len(checks.close_in_time([cdr("x")], far, 1)[0]), 1)
        self.assertEqual(len(checks.close_in_time([], seen, 1)[0]), 4, "nothing compared is no pass")

    def test_nothing_of_a_shows_on_b(self):
        self.assertEqual(checks.nothing_of_a_on_b("From: a@10.0.0.1", "From: b@x", ["10.0.0.1"]), [])
        self.assertEqual(len(checks.nothing_of_a_on_b("Via: ua-a", "Via: ua-a", ["ua-a"])), 1)

    def test_a_gauge_comes_back(self):
        self.assertEqual(checks.back_to_start("leases", 2, 2, 0), [])
        self.assertEqual(len(checks.back_to_start("leases", 2, 3, 0)), 1)


if __name__ == "__main__":
    unittest.main()
