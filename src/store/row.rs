//! How the rows of the paper plane lie in their tables: each column named once.

use cooee_records::cdr::{Cdr, Leg, Media, Sample};
use rusqlite::{Connection, ToSql};

/// A row that lies in a table with columns named as its fields.
pub(crate) trait Row: Sized {
    /// The table.
    const TABLE: &'static str;
    /// The columns that tell rows apart.
    const KEY: &'static [&'static str];
    /// The columns, in the order of [`values`](Self::values).
    const COLUMNS: &'static [&'static str];

    fn values(&self) -> Vec<&dyn ToSql>;

    fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self>;

    /// Writes the row, over an earlier one with the same key if there is one.
    fn upsert(&self, db: &Connection) -> rusqlite::Result<()> {
        let list = |each: &dyn Fn(&str) -> String| {
            Self::COLUMNS.iter().map(|column| each(column)).collect::<Vec<_>>().join(", ")
        };
        let sql = format!(
            "INSERT INTO {} ({}) VALUES ({}) ON CONFLICT ({}) DO UPDATE SET {}",
            Self::TABLE,
            Self::COLUMNS.join(", "),
            list(&|_| "?".to_owned()),
            Self::KEY.join(", "),
            list(&|column| format!("{column} = excluded.{column}")),
        );
        db.prepare_cached(&sql)?.execute(self.values().as_slice())?;
        Ok(())
    }

    /// `SELECT` of all columns, up to the name of the table.
    fn select() -> String {
        format!("SELECT {} FROM {}", Self::COLUMNS.join(", "), Self::TABLE)
    }
}

macro_rules! row {
    ($row:ident in $table:literal by $key:expr; $($column:ident),+; $read:expr) => {
        impl Row for $row {
            const TABLE: &'static str = $table;
            const KEY: &'static [&'static str] = &$key;
            const COLUMNS: &'static [&'static str] = &[$(stringify!($column)),+];

            fn values(&self) -> Vec<&dyn ToSql> {
                vec![$(&self.$column),+]
            }

            #[allow(clippy::needless_update, reason = "only a session has more than columns")]
            fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
                let read = Self { $($column: row.get(stringify!($column))?,)+ ..Self::default() };
                Ok($read(read))
            }
        }
    };
}

row!(Cdr in "session" by ["id"];
    id, node, role, route, config_rev, autodialer_id, unitalk_call_id, customer, called, did,
    did_rule, t_invite_us, t_invite_out_us, t_b_100_us, t_b_18x_us, t_b_200_us, t_queue_us,
    t_agent_us, t_bridge_us, t_end_us, t_agent_src, t_agent_err_ms, hold_ms, hold_count, sip_final,
    q850, reason_text, end_party, outcome, status_code, recovered, wall_spans, agent,
    portal_call_id;
    Cdr::measured);

row!(Leg in "leg" by ["session_id", "n"];
    session_id, n, side, trunk, peer, sip_call_id, local_tag, remote_tag, result, t_invite_us,
    t_18x_us, t_200_us, t_end_us, codec;
    std::convert::identity);

row!(Media in "media" by ["session_id", "side"];
    session_id, side, packets, bytes, forwarded, lost, duplicate, reordered, jitter_us,
    foreign_packets, malformed, rtcp, payload_type;
    std::convert::identity);

row!(Sample in "quality" by ["session_id", "side", "t_us"];
    session_id, side, t_us, packets, lost, duplicate, late, jitter_us, rtt_us, mos, grade;
    std::convert::identity);
