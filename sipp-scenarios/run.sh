#!/usr/bin/env bash
# Calls through a fresh node on loopback, SIPp on both sides, and checks what came of them.
#
#   sipp-scenarios/run.sh smoke            identity before and after, times of each call, percentiles
#   sipp-scenarios/run.sh load             1,000 calls at 50 a second, media on a tenth
#   sipp-scenarios/run.sh callbacks        webhooks of 1,000 calls through faults of their receiver
#   sipp-scenarios/run.sh callbacks-cost   the delay of an INVITE with a receiver that hangs, and without
#   sipp-scenarios/run.sh outbox           what an operator does with webhooks that wait
#   sipp-scenarios/run.sh hooks            a portal's word on who answered, when, and how it came out
#   sipp-scenarios/run.sh reload           another configuration under load: no call notices
#   sipp-scenarios/run.sh torture          the cases of tests/torture over UDP, and answers to spoofed Vias
#   sipp-scenarios/run.sh corpora          published torture and malformed messages over UDP and TCP,
#                                          where ../shared or COOEE_CORPORA has them
#   sipp-scenarios/run.sh flood            a stranger's flood beside calls (--seconds N)
#   sipp-scenarios/run.sh overload         five times the calls a second that the node takes
#   sipp-scenarios/run.sh chaos            kill -9 under load, three times (--times N)
#   sipp-scenarios/run.sh survive          kill -9 while a hundred calls talk: all go on
#   sipp-scenarios/run.sh capture          the CDR's times against the kernel's
#   sipp-scenarios/run.sh all              every row but callbacks-cost
#   sipp-scenarios/run.sh <row> [<row>]    just these; --list names them, their flows, and what they show
#
#   --json       the figures as JSON on standard output
#   --direct     no node between: proves the scenarios themselves
#   --keep       leaves the logs of the run and says where
#
# Installs sipp, stunnel, openssl and python3 where they are missing (as root); capture needs tcpdump
# and the right to use it. Short scenarios are written in scripts.txt, long ones are SIPp's own XML.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
build=yes
for argument in "$@"; do
  case "$argument" in
    -h | --help) sed -n '2,27s/^# \{0,1\}//p' "$0" && exit 0 ;;
    --direct | --list) build=no ;;
  esac
done
"$here/../tests/provide" sipp=sip-tester stunnel=stunnel4 openssl python3
ulimit -n "$(ulimit -Hn)"
if [ "$build" = yes ] && [ -z "${COOEE_BIN:-}" ]; then
  (cd "$here/.." && cargo build --release --locked --quiet --bin cooee)
fi
if [ "$build" = yes ] && [ -z "${SIPLOAD_BIN:-}" ]; then
  case " $* " in
    *" overload "* | *" all "*)
      (cd "$here/.." && cargo build --release --locked --quiet -p cooee-sipload) ;;
  esac
fi
exec python3 -B "$here/rows.py" "$@"
