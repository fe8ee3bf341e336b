"""The checks of webhooks: each passes on what is right and complains about one planted fault."""

import unittest

import deliveries

KINDS = ("ringing", "platform_answered", "agent_answered", "ended")


def attempt(call, number, kind, verdict="200", at=100.0, **more):
    event = {"id": f"{call}-{number * 2}", "type": f"cooee.call.{kind}", "call_id": call,
             "sequence": number, "time": "1970-01-01T00:01:39.500000Z", "data": more.pop("data", {})}
    return {"at": at, "verdict": verdict, "wrong": None, "id": event["id"], "sha256": f"h{number}",
            "event": event, **more}


def cdr(call, **more):
    return {"id": call, "t_b_18x_us": 1, "t_b_200_us": 2, "t_agent_us": 3, "t_bridge_us": None,
            "outcome": "connected", "end_party": "customer", "sip_final": 200,
            "t_agent_src": "sip200", "hold_count": 0, **more}


def whole(call):
    rows = [attempt(call, number, kind) for number, kind in enumerate(KINDS, 1)]
    rows[-1]["event"]["data"] = {name: cdr(call)[name] for name in deliveries.SEALED}
    return rows


class Deliveries(unittest.TestCase):
    def test_what_is_right_passes(self):
        mixed = [one for pair in zip(whole("x"), whole("y")) for one in pair]
        self.assertEqual(deliveries.judged(mixed, [cdr("x"), cdr("y")]), [])

    def test_repeats_are_fine_after_a_fault_and_after_a_crash(self):
        first, second, *rest = whole("x")
        rows = [{**first, "verdict": "hang"}, {**first, "verdict": "500"}, first, second,
                first, second, *rest]
        self.assertEqual(deliveries.judged(rows, [cdr("x")]), [])

    def test_a_lost_event(self):
        for lost in range(len(KINDS)):
            rows = whole("x")
            del rows[lost]
            self.assertTrue(deliveries.judged(rows, [cdr("x")]), KINDS[lost])
        self.assertEqual(len(deliveries.complete([], [cdr("x")])), 1)

    def test_an_event_that_overtakes(self):
        first, second, *rest = whole("x")
        self.assertEqual(len(deliveries.in_order([second, first, *rest])), 1)
        early = [{**first, "verdict": "500"}, second, first, *rest]
        self.assertEqual(len(deliveries.in_order(early)), 1)
        gone = [{**first, "verdict": "410"}, second, *rest]
        self.assertEqual(deliveries.in_order(gone), [])

    def test_an_event_that_was_never_taken(self):
        rows = whole("x")
        rows[-1]["verdict"] = "drip"
        self.assertEqual(deliveries.delivered(rows), ["x-8: never taken"])
        self.assertEqual(deliveries.delivered(rows, {"x-8"}), [])

    def test_a_dropped_event_leaves_its_gap_and_no_more(self):
        first, second, *rest = whole("x")
        self.assertEqual(deliveries.judged([first, *rest], [cdr("x")], {"x-4"}), [])
        self.assertEqual(deliveries.judged([second, *rest], [cdr("x")], {"x-2"}), [])
        self.assertTrue(deliveries.judged([first, *rest[1:]], [cdr("x")], {"x-4"}))
        self.assertTrue(deliveries.judged([first, *rest], [cdr("x")], {"y-4"}))

    def test_other_bytes_or_another_id_for_the_same(self):
        rows = whole("x")
        self.assertEqual(len(deliveries.same_bytes([*rows, {**rows[0], "sha256": "other"}])), 1)
        again = attempt("x", 1, "ringing", id="x-9")
        self.assertEqual(len(deliveries.same_bytes([*rows, again])), 1)

    def test_a_second_end(self):
        rows = [*whole("x"), attempt("x", 5, "ended")]
        self.assertEqual(len(deliveries.complete(rows, [cdr("x")])), 1)

    def test_a_call_without_a_record(self):
        self.assertEqual(len(deliveries.of_known_calls(whole("x"), [cdr("y")])), 1)

    def test_a_bad_signature(self):
        rows = [{**one, "wrong": "bad signature", "event": {}} for one in whole("x")[:1]]
        self.assertEqual(len(deliveries.genuine(rows)), 1)
        self.assertEqual(deliveries.firsts(rows), [])

    def test_the_end_says_what_the_record_says(self):
        self.assertEqual(len(deliveries.agrees(whole("x"), [cdr("x", outcome="busy")])), 1)
        late = cdr("x", outcome="connected", t_agent_src="b24_event")
        data = {name: late[name] for name in deliveries.SEALED}
        rows = whole("x") + [attempt("x", 5, "amended", data=data)]
        self.assertEqual(deliveries.agrees(rows, [late]), [])

    def test_figures(self):
        rows = whole("x")
        seen = deliveries.figures([{**rows[0], "verdict": "hang"}, *rows])
        self.assertEqual((seen["calls"], seen["events"], seen["attempts"]), (1, 4, 5))
        self.assertEqual((seen["repeats"], seen["faults"]), (1, {"hang": 1}))
        self.assertEqual(seen["delay_ms"]["max"], 500.0)
        self.assertEqual(deliveries.figures([])["events"], 0)


if __name__ == "__main__":
    unittest.main()
