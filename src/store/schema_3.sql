-- Version 3. What operators have told trunks: no row, no word.
CREATE TABLE trunk_leave (
  trunk TEXT PRIMARY KEY, leave TEXT NOT NULL, -- draining, disabled
  since_us INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
