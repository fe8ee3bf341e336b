-- Version 2. The portal's ids of the agent and the call; holds that nobody can know are NULL, not 0;
-- the outbox.
DROP VIEW metric;
ALTER TABLE session RENAME TO session_1;
DROP INDEX session_time;
DROP INDEX session_customer;
DROP INDEX session_did;
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
  hold_ms INTEGER, hold_count INTEGER, -- NULL: the platform does not signal its holds
  sip_final INTEGER, q850 INTEGER, reason_text TEXT,
  end_party TEXT NOT NULL,           -- customer, agent, dialer, platform, bridge, timeout, unknown
  outcome TEXT NOT NULL,             -- connected, abandoned, busy ...
  status_code TEXT,                  -- Bitrix24's STATUS_CODE; NULL: not known yet
  recovered INTEGER NOT NULL,        -- 1: a restart closed the call, its end was not seen
  wall_spans INTEGER NOT NULL,       -- 1: a reboot lay between, spans are told by the wall clock
  agent TEXT, portal_call_id TEXT    -- the portal's USER_ID and CALL_ID
) STRICT;
INSERT INTO session SELECT *, NULL, NULL FROM session_1;
DROP TABLE session_1;
CREATE INDEX session_time ON session(t_invite_us, id);
CREATE INDEX session_customer ON session(customer, t_invite_us);
CREATE INDEX session_did ON session(did, t_invite_us);

CREATE VIEW metric AS SELECT id, route, did, outcome, t_invite_us,
  (t_b_200_us - t_invite_us) / 1000.0                                  AS setup_ms,
  (t_agent_us - t_invite_us) / 1000.0                                  AS trunk_queue_ms,
  CASE outcome WHEN 'abandoned' THEN (t_end_us - t_invite_us) / 1000.0 END AS abandoned_ms,
  (t_bridge_us - t_agent_us) / 1000.0                                  AS bridge_ms,
  (t_end_us - t_agent_us) / 1000.0                                     AS connect_ms,
  max((t_end_us - t_agent_us) / 1000.0 - hold_ms, 0.0)                 AS talk_ms
FROM session;

-- One event of one call for one webhook. Ids grow in the order in which events came about.
CREATE TABLE letter (
  id INTEGER PRIMARY KEY,
  webhook TEXT NOT NULL,
  call TEXT NOT NULL,                -- ULID
  event TEXT NOT NULL,               -- <call>-<place of the fact in the call>
  kind TEXT NOT NULL,                -- ringing, platform_answered, agent_answered, bridged ...
  sequence INTEGER NOT NULL,         -- from 1 without gaps, per call and webhook
  payload TEXT NOT NULL,             -- the body, the same at each attempt
  created_us INTEGER NOT NULL,       -- when the event came about
  state TEXT NOT NULL,               -- waiting, delivered, dead
  attempts INTEGER NOT NULL,
  last_us INTEGER,                   -- the end of the last attempt
  last_status INTEGER,               -- its HTTP status; NULL: there was none
  last_error TEXT,                   -- why it failed
  delivered_us INTEGER,
  UNIQUE (event, webhook)
) STRICT;
CREATE INDEX letter_state ON letter(webhook, state, id);

-- A call whose letters wait for one webhook. They leave one after another, so one row says when
-- the next may, and looking for what is due costs the same however much waits.
CREATE TABLE lane (
  webhook TEXT NOT NULL, call TEXT NOT NULL,
  next_us INTEGER NOT NULL,          -- not before
  failures INTEGER NOT NULL,         -- attempts that failed since the last that did not
  failing_since_us INTEGER,          -- the first of them
  away INTEGER NOT NULL,             -- 1: the receiver was not there at the last attempt
  PRIMARY KEY (webhook, call)
) STRICT, WITHOUT ROWID;
CREATE INDEX lane_due ON lane(webhook, next_us);

-- How many letters there are, kept by triggers: counting them would take longer than sending.
CREATE TABLE tally (
  webhook TEXT NOT NULL, state TEXT NOT NULL, letters INTEGER NOT NULL,
  PRIMARY KEY (webhook, state)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER letter_added AFTER INSERT ON letter BEGIN
  INSERT INTO tally VALUES (NEW.webhook, NEW.state, 1)
    ON CONFLICT DO UPDATE SET letters = letters + 1;
END;
CREATE TRIGGER letter_moved AFTER UPDATE OF state ON letter WHEN OLD.state <> NEW.state BEGIN
  UPDATE tally SET letters = letters - 1 WHERE webhook = OLD.webhook AND state = OLD.state;
  INSERT INTO tally VALUES (NEW.webhook, NEW.state, 1)
    ON CONFLICT DO UPDATE SET letters = letters + 1;
END;
CREATE TRIGGER letter_gone AFTER DELETE ON letter BEGIN
  UPDATE tally SET letters = letters - 1 WHERE webhook = OLD.webhook AND state = OLD.state;
END;

-- Since when a webhook's receiver has been away.
CREATE TABLE receiver (webhook TEXT PRIMARY KEY, failing_since_us INTEGER NOT NULL) STRICT;

-- What later events of a call need of its earlier ones, and how far each webhook has counted.
CREATE TABLE call_context (
  call TEXT PRIMARY KEY, context TEXT NOT NULL, until_us INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX call_context_until ON call_context(until_us);
