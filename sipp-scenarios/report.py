"""What a run shows to a person: identity before and after, times of each call, percentiles."""

from sipp import header

IDENTITY = ["To", "From", "Contact", "P-Asserted-Identity", "Remote-Party-ID", "Diversion", "Privacy"]
SPANS = [("out", "t_invite_out_us"), ("18x", "t_b_18x_us"), ("answer", "t_b_200_us"),
         ("agent", "t_agent_us"), ("bridge", "t_bridge_us"), ("end", "t_end_us")]
FIGURES = {"load", "corpora", "flood", "callbacks", "outbox", "hooks", "capture", "chaos", "survive"}


def identity(before, after):
    """The slots that say who calls, as (slot, in A's INVITE, in B's INVITE)."""
    slots = [("Request-URI", before.split(" ", 2)[1], after.split(" ", 2)[1])]
    slots += [(name, header(before, name), header(after, name)) for name in IDENTITY]
    return [slot for slot in slots if slot[1] or slot[2]]


def times(cdr):
    """Milliseconds since the INVITE came in; None where it did not happen."""
    start = cdr.get("t_invite_us")
    found = {"id": cdr.get("id"), "outcome": cdr.get("outcome"), "sip_final": cdr.get("sip_final")}
    for name, key in SPANS:
        at = cdr.get(key)
        found[name] = round((at - start) / 1000, 3) if at is not None and start is not None else None
    return found


def show(results):
    for result in results:
        figures = result["figures"]
        if "identity" in figures and result["row"] in ("basic", "agent"):
            print(f"\n{result['row']}: who calls, before and after")
            for slot, before, after in figures["identity"]:
                print(f"  {slot:20} {before or '-'}\n  {'':20} -> {after or '-'}")
        if figures.get("times") and result["row"] in ("basic", "agent", "hold", "early_media"):
            show_times(result["row"], figures["times"])
        if "latency" in figures:
            show_latency(figures["latency"])
        if result["row"] in FIGURES:
            show_figures(result["row"], figures)
        if result["row"] == "callbacks-cost" and figures:
            show_cost(figures)


def show_times(row, calls):
    print(f"\n{row}: milliseconds since the INVITE came in")
    print("  " + "call".ljust(28) + "".join(name.rjust(10) for name, _ in SPANS) + "  outcome")
    for call in calls:
        cells = ("-" if call[name] is None else f"{call[name]:.3f}" for name, _ in SPANS)
        print("  " + str(call["id"]).ljust(28) + "".join(cell.rjust(10) for cell in cells)
              + f"  {call['outcome']}")


def show_latency(latency):
    print("\nlatency, milliseconds")
    print("  " + "name".ljust(20) + "".join(n.rjust(10) for n in ("count", "p50", "p90", "p99", "max")))
    for name, figures in sorted(latency.items()):
        if figures.get("count"):
            spans = "".join(f"{figures.get(p, 0) / 1e6:10.3f}" for p in ("p50", "p90", "p99", "max"))
            print("  " + name.ljust(20) + f"{figures['count']:10}" + spans)


def show_figures(name, figures):
    print(f"\n{name}")
    for key, value in figures.items():
        if key != "latency":
            print(f"  {key}: {value}")


def show_cost(figures):
    """INVITE forward, a receiver that hangs against no webhook, pair by pair."""
    print("\ncallbacks-cost: INVITE forward, milliseconds")
    print("  " + "".join(name.rjust(11) for name in
                         ("pair", "p50 hang", "p50 none", "ratio", "p99 hang", "p99 none", "ratio")))
    for number, one in enumerate(figures["pairs"], 1):
        cells = [f"{number:11}"]
        for p in ("p50", "p99"):
            cells += [f"{one[name][p]:11.3f}" for name in ("hang_ms", "none_ms")]
            cells.append(f"{one['ratio'][p]:11.3f}")
        print("  " + "".join(cells))
    print(f"  median ratio: {figures['median_ratio']}, within the limit: {figures['within']}")
