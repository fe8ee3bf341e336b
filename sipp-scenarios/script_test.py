"""Scripts are spelt as they should be; each row names flows that have a simulated test."""

import re
import unittest
import xml.etree.ElementTree as tree

import rows
import script
import table

REPOSITORY = script.SCRIPTS.parent.parent
TEXT = """# a comment
@a_one A: calls.
> INVITE sdp
  Supported: timer
< 486
> ACK
> INVITE
< 200
  has a="b"
> ACK sdp=sendonly
pause 10
< BYE
> 200 BYE

@b_one B: is called.
< INVITE
> 180 INVITE
> 200 INVITE sdp
< ACK
> BYE
< 200
"""


def parts(name, tls=False):
    return list(tree.fromstring(script.Writer(name, script.scripts(TEXT)[name][1], tls).xml()))


class Scripts(unittest.TestCase):
    def test_a_refusal_is_acknowledged_in_its_transaction_and_a_2xx_in_the_dialog(self):
        sends = [part.text.strip() for part in parts("a_one") if part.tag == "send"]
        branches = [re.search(r"branch=(\S+);", text)[1] for text in sends[:4]]
        self.assertEqual(branches[0], branches[1])
        self.assertEqual(len(set(branches)), 3)
        self.assertIn("ACK sip:[service]@", sends[1])
        self.assertIn("INVITE sip:[service]@", sends[2])
        self.assertIn("ACK [next_url] ", sends[3])
        self.assertEqual([re.search(r"CSeq: (.*)", text)[1] for text in sends[:4]],
                         ["1 INVITE", "1 ACK", "2 INVITE", "2 ACK"])
        self.assertIn("Supported: timer\n", sends[0])
        self.assertIn("a=sendonly", sends[3])
        self.assertNotIn("m=audio", sends[2])

    def test_before_a_final_answer_others_may_come(self):
        waits = [part.attrib for part in parts("a_one") if part.tag == "recv"]
        self.assertEqual([wait["response"] for wait in waits[:4]], ["100", "180", "183", "486"])
        self.assertEqual([wait.get("optional") for wait in waits[:4]], ["true"] * 3 + [None])
        self.assertEqual(waits[-1]["request"], "BYE")

    def test_what_has_come_is_looked_at(self):
        looks = [look.attrib for part in parts("a_one") for look in part.iter("ereg")]
        self.assertEqual(looks[0]["regexp"], 'a="b"')
        self.assertEqual(looks[0]["check_it"], "true")

    def test_only_what_somebody_answers_is_sent_again(self):
        for name, wanted in (("a_one", [1, 0, 1, 0, 0]), ("b_one", [0, 1, 1])):
            sends = [part for part in parts(name) if part.tag == "send"]
            self.assertEqual([int("retrans" in send.attrib) for send in sends], wanted, name)

    def test_b_asks_under_the_names_of_the_invite(self):
        bye = [part.text.strip() for part in parts("b_one") if part.tag == "send"][-1]
        self.assertIn("From: [$to];tag=[pid]b[call_number]\nTo: [$from]\n", bye)

    def test_tls_is_said_where_sipp_speaks_tcp(self):
        invite = parts("a_one", tls=True)[0].text
        self.assertIn("Via: SIP/2.0/TLS [local_ip]:5061;", invite)
        self.assertIn(":5061;transport=tls>", invite)

    def test_every_script_is_used_and_can_be_spelt(self):
        used = {name for row in table.ROWS for name in (row.a, row.b, row.first) if name}
        for name in script.scripts(script.SCRIPTS.read_text()):
            self.assertIn(name, used)
            tree.fromstring(script.xml(name))

    def test_no_two_rows_share_a_number(self):
        numbers = [row.number for row in table.ROWS]
        self.assertEqual(len(numbers), len(set(numbers)))

    def test_the_flows_of_the_rows_have_simulated_tests(self):
        found = set()
        for file in [*(REPOSITORY / "tests/flows").rglob("*.rs"), *(REPOSITORY / "src").rglob("*.rs")]:
            for name in re.findall(r"fn flow_(\d+(?:(?:_\d+)*_and_\d+)?)_", file.read_text()):
                found |= set(map(int, name.replace("_and", "").split("_")))
        named = {row.name: row.flows for row in table.ROWS}
        named |= {name: flows for name, (flows, _) in rows.NAMED.items()}
        for name, flows in named.items():
            self.assertLessEqual(set(flows), found, name)
        self.assertGreaterEqual(len(set().union(*named.values())), 20)


if __name__ == "__main__":
    unittest.main()
