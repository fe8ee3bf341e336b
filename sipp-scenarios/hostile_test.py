"""The reader of torture cases, and its judge: right passes, one planted fault is found."""

import unittest

import hostile

TABLE = """# a comment
@case first dial|400 a reason
INVITE sip:{3*ab}@h SIP/2.0
{heads}
Content-Length: {length}

\\x00\\\\{2*xy}
@b has {name}
@a lacks evil

# another
@case second drop
\\x0d
"""


class Hostile(unittest.TestCase):
    def setUp(self):
        self.first, self.second = hostile.cases(TABLE)

    def test_cases_are_read(self):
        self.assertEqual(self.first.wanted, ["dial", "400"])
        self.assertIn(b"INVITE sip:ababab@h SIP/2.0\r\nVia: ", self.first.bytes)
        self.assertTrue(self.first.bytes.endswith(b"Content-Length: 8\r\n\r\n\x00\\xyxy\r\n"))
        self.assertEqual(self.first.holds, [("b", "has", b"first"), ("a", "lacks", b"evil")])
        self.assertEqual(self.second.bytes, b"\r\r\n\r\n")

    def test_the_table_of_the_project_is_read(self):
        every = hostile.cases(hostile.CASES.read_text())
        self.assertGreater(len(every), 100)
        self.assertEqual(len({case.name for case in every}), len(every))

    def test_the_judge(self):
        trying, busy, invite = b"SIP/2.0 100 T", b"SIP/2.0 400 Bad", b"INVITE first"
        self.assertEqual(hostile.judged(self.first, [trying], [invite]), [])
        self.assertEqual(hostile.judged(self.second, [], []), [])
        for answers, invites in [([trying], []), ([busy, busy], [invite]), ([trying], [b"INVITE x"]),
                                 ([b"SIP/2.0 100 evil"], [invite]), ([busy * 90], [invite])]:
            self.assertEqual(len(hostile.judged(self.first, answers, invites)), 1 + (not invites),
                             (answers, invites))


if __name__ == "__main__":
    unittest.main()
