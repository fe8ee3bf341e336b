-- Version 1. All *_us columns: microseconds since the Unix epoch, UTC; NULL: did not happen, or
-- was not seen. Values that come from a fixed list are checked by the types that write them.
CREATE TABLE session (
  id TEXT PRIMARY KEY,               -- ULID
  node TEXT NOT NULL,
  role TEXT,                         -- agent-leg, customer-leg
  route TEXT, config_rev INTEGER NOT NULL,
  autodialer_id TEXT, unitalk_call_id TEXT,
  customer TEXT, called TEXT, did TEXT, did_rule TEXT,
  t_invite_us INTEGER NOT NULL, t_invite_out_us INTEGER, t_b_100_us INTEGER, t_b_18x_us INTEGER,
  t_b_200_us INTEGER, t_queue_us INTEGER, t_agent_us INTEGER, t_bridge_us INTEGER,
  t_end_us INTEGER,
  t_agent_src TEXT NOT NULL,         -- none, sip200, b24_event, b24_event+media, media
  t_agent_err_ms INTEGER,            -- half width of the uncertainty
  hold_ms INTEGER NOT NULL, hold_count INTEGER NOT NULL,
  sip_final INTEGER, q850 INTEGER, reason_text TEXT,
  end_party TEXT NOT NULL,           -- customer, agent, dialer, platform, bridge, timeout, unknown
  outcome TEXT NOT NULL,             -- connected, abandoned, busy ...
  status_code TEXT,                  -- Bitrix24's STATUS_CODE; NULL: not known yet
  recovered INTEGER NOT NULL,        -- 1: a restart closed the call, its end was not seen
  wall_spans INTEGER NOT NULL        -- 1: a reboot lay between, spans are told by the wall clock
) STRICT;
CREATE INDEX session_time ON session(t_invite_us, id);
CREATE INDEX session_customer ON session(customer, t_invite_us);
CREATE INDEX session_did ON session(did, t_invite_us);

CREATE TABLE leg (
  session_id TEXT NOT NULL, n INTEGER NOT NULL, side TEXT NOT NULL, trunk TEXT NOT NULL, peer TEXT,
  sip_call_id TEXT NOT NULL, local_tag TEXT, remote_tag TEXT, result INTEGER,
  t_invite_us INTEGER, t_18x_us INTEGER, t_200_us INTEGER, t_end_us INTEGER, codec TEXT,
  PRIMARY KEY (session_id, n)
) STRICT, WITHOUT ROWID;
CREATE INDEX leg_call_id ON leg(sip_call_id);

-- What was received from one side over the whole relay. May come before its session.
CREATE TABLE media (
  session_id TEXT NOT NULL, side TEXT NOT NULL,
  packets INTEGER NOT NULL, bytes INTEGER NOT NULL, forwarded INTEGER NOT NULL,
  lost INTEGER NOT NULL, duplicate INTEGER NOT NULL, reordered INTEGER NOT NULL,
  jitter_us INTEGER NOT NULL, foreign_packets INTEGER NOT NULL, malformed INTEGER NOT NULL,
  rtcp INTEGER NOT NULL, payload_type INTEGER,
  PRIMARY KEY (session_id, side)
) STRICT, WITHOUT ROWID;

-- The owned number that a customer last saw.
CREATE TABLE sticky_did (
  customer TEXT PRIMARY KEY, did TEXT NOT NULL, until_us INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sticky_did_until ON sticky_did(until_us);

-- The last record of the journal that is in these tables.
CREATE TABLE feed (one INTEGER PRIMARY KEY CHECK (one = 1), position INTEGER NOT NULL) STRICT;
INSERT INTO feed VALUES (1, 0);

CREATE VIEW metric AS SELECT id, route, did, outcome, t_invite_us,
  (t_b_200_us - t_invite_us) / 1000.0                                  AS setup_ms,
  (t_agent_us - t_invite_us) / 1000.0                                  AS trunk_queue_ms,
  CASE outcome WHEN 'abandoned' THEN (t_end_us - t_invite_us) / 1000.0 END AS abandoned_ms,
  (t_bridge_us - t_agent_us) / 1000.0                                  AS bridge_ms,
  (t_end_us - t_agent_us) / 1000.0                                     AS connect_ms,
  max((t_end_us - t_agent_us) / 1000.0 - hold_ms, 0.0)                 AS talk_ms
FROM session;
