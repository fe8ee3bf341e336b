"""What must hold after a row, as plain functions over what was seen.

Each gives a list of complaints; an empty list is a pass. Nothing here starts, waits or prints.
"""

import re
from collections import Counter, defaultdict


def sipp_went(name, code, stat, calls):
    """SIPp ended well and every call went as its scenario says."""
    found = []
    if code != 0:
        found.append(f"{name}: sipp ended with {code} (None: it did not end in time)")
    if stat["ok"] != calls:
        found.append(f"{name}: {stat['ok']} of {calls} calls went as written")
    if stat["failed"]:
        found.append(f"{name}: {stat['failed']} calls failed")
    return found


def legs(cdr, side):
    """The Call-IDs of one side of a record."""
    return [leg["sip_call_id"] for leg in cdr.get("legs", []) if leg.get("side") == side]


def by_a_call_id(cdrs):
    """The records by the Call-ID of their A leg."""
    found = defaultdict(list)
    for cdr in cdrs:
        for call_id in legs(cdr, "A"):
            found[call_id].append(cdr)
    return found


def one_cdr_each(cdrs, call_ids):
    """Every call has exactly one record, and no record speaks of another call."""
    found, records = [], by_a_call_id(cdrs)
    for call_id in sorted(call_ids):
        if len(records[call_id]) != 1:
            found.append(f"{call_id}: {len(records[call_id])} records, wanted 1")
    twice = [call for call, count in Counter(cdr.get("id") for cdr in cdrs).items() if count > 1]
    found += [f"{call}: the same record twice" for call in twice]
    return found


def fields_are(cdrs, wanted):
    """Each record has the wanted fields; a wanted value may be a function that judges."""
    found = []
    for cdr in cdrs:
        for name, value in wanted.items():
            seen = cdr.get(name)
            fine = value(seen) if callable(value) else seen == value
            if not fine:
                shown = value.__doc__ if callable(value) else repr(value)
                found.append(f"{cdr.get('id')}: {name} is {seen!r}, wanted {shown}")
    return found


def legs_are_apart(cdrs, b_call_ids):
    """Two dialogs: the Call-IDs differ, and B's is one that B saw."""
    found = []
    for cdr in cdrs:
        a, b = legs(cdr, "A"), legs(cdr, "B")
        if set(a) & set(b):
            found.append(f"{cdr.get('id')}: both legs share a Call-ID")
        strangers = [call_id for call_id in b if call_id not in b_call_ids]
        if strangers:
            found.append(f"{cdr.get('id')}: B never saw {strangers}")
    return found


def b_results_are(cdrs, wanted):
    """The tries towards B ended so, in this order: one at most was answered."""
    found = []
    for cdr in cdrs:
        results = tuple(leg.get("result") for leg in cdr.get("legs", []) if leg.get("side") == "B")
        if results != wanted:
            found.append(f"{cdr.get('id')}: the legs of B ended with {results}, wanted {wanted}")
    return found


def spoken_by(by, a_messages, b_invite):
    """The node names the transport of each side: to A in the Contact of its 2xx, to B in Via."""
    contacts = re.findall(r"(?ims)^SIP/2.0 200 .*?^Contact: *(\S+)",
                          "\n".join(text for sent, _, text in a_messages if not sent))
    wanted = "" if by[0] == "udp" else f";transport={by[0]}"
    found = [f"A was told {contact}, wanted {by[0]}" for contact in contacts
             if wanted not in contact or not wanted and "transport" in contact]
    if f"SIP/2.0/{by[1].upper()} " not in b_invite:
        found.append(f"B was not called by {by[1]}")
    return found


def nothing_of_a_on_b(a_invite, b_invite, hidden):
    """B's INVITE names nothing of A's network."""
    return [f"B's INVITE shows A's {what}" for what in hidden if what and what in b_invite
            and what in a_invite]


def latency_counted(latency, name, least):
    """A histogram has seen at least so many."""
    count = latency.get(name, {}).get("count", 0)
    return [] if count >= least else [f"/v1/latency: {name} counted {count}, wanted {least}"]


def back_to_start(name, before, after, slack):
    """A gauge has come back to where it was."""
    if after <= before + slack:
        return []
    return [f"{name}: {before} at the start, {after} at the end (slack {slack})"]


def answered(short_log):
    """Call-IDs that saw a 2xx to an INVITE, sent or received."""
    return {call_id for _, call_id, cseq, first in short_log
            if "INVITE" in cseq and first.startswith("SIP/2.0 2")}


def told_of_the_end(short_log, call_ids):
    """Each of the calls was hung up on, or had its own BYE answered."""
    ended = {call_id for sent, call_id, cseq, first in short_log if not sent and "BYE" in cseq
             and first.startswith(("BYE ", "SIP/2.0 200"))}
    return [f"{call_id}: was up and never heard of its end" for call_id in sorted(call_ids - ended)]


def crash_lost_nothing(cdrs, a_answered, b_answered):
    """Every call that any peer saw answered has exactly one record."""
    found, by_leg = [], Counter()
    for cdr in cdrs:
        by_leg.update(set(legs(cdr, "A") + legs(cdr, "B")))
    for side, call_ids in (("A", a_answered), ("B", b_answered)):
        for call_id in sorted(call_ids):
            if by_leg[call_id] != 1:
                found.append(f"{side} saw {call_id} answered: {by_leg[call_id]} records, wanted 1")
    return found


# The node stamps it as it decides, and a machine that stands still before the message leaves is no
# fault of the record: half of the calls must be close, the rest is measured.
OWN_STAMPS = {"t_invite_out_us": 0.5}


def close_in_time(cdrs, seen, calls, limit_us=1000, share=0.99):
    """The records' times lie by the kernel's: so large a share within so many microseconds.

    `seen` maps an A Call-ID to {field: microseconds since the epoch}. Gives (complaints, figures).
    """
    found, figures = [], {}
    records = by_a_call_id(cdrs)
    apart = defaultdict(list)
    for call_id, times in seen.items():
        for cdr in records.get(call_id, []):
            for field, at_us in times.items():
                if cdr.get(field) is not None:
                    apart[field].append(abs(cdr[field] - at_us))
    for field, spans in sorted(apart.items()):
        spans.sort()
        within = sum(span <= limit_us for span in spans) / len(spans)
        figures[field] = {"calls": len(spans), "within_1ms": round(within, 4),
                          "p50_us": percentile(spans, 0.5), "p99_us": percentile(spans, 0.99),
                          "max_us": spans[-1]}
        wanted = OWN_STAMPS.get(field, share)
        if within < wanted:
            found.append(f"{field}: {within:.2%} within {limit_us} us, wanted {wanted:.0%}")
    for field in ("t_invite_us", "t_invite_out_us", "t_b_200_us", "t_end_us"):
        if len(apart[field]) < calls:
            found.append(f"{field}: {len(apart[field])} of {calls} calls to compare")
    return found, figures


def percentile(ordered, share):
    """The value at a share of a sorted list; 0 where it is empty."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0
