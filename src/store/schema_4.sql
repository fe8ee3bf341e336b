-- Version 4. How what came from each side sounded, some seconds a row. May come before its session.
CREATE TABLE quality (
  session_id TEXT NOT NULL, side TEXT NOT NULL,
  t_us INTEGER NOT NULL, -- the end of those seconds
  packets INTEGER NOT NULL, lost INTEGER NOT NULL, duplicate INTEGER NOT NULL, late INTEGER NOT NULL,
  jitter_us INTEGER NOT NULL, rtt_us INTEGER, mos REAL, grade INTEGER,
  PRIMARY KEY (session_id, side, t_us)
) STRICT, WITHOUT ROWID;
