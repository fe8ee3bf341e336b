//! What operators have told trunks, kept across restarts.

use cooee_model::command::Leave;

use crate::error::StoreError;
use crate::store::Store;

impl Store {
    /// Keeps what a trunk may do from now on.
    ///
    /// # Errors
    /// [`StoreError::Sqlite`].
    pub fn tell_trunk(&mut self, trunk: &str, leave: Leave) -> Result<(), StoreError> {
        if leave == Leave::Enabled {
            self.db.execute("DELETE FROM trunk_leave WHERE trunk = ?", [trunk])?;
        } else {
            let sql = "INSERT OR REPLACE INTO trunk_leave VALUES (?, ?, unixepoch() * 1000000)";
            self.db.execute(sql, (trunk, leave.name()))?;
        }
        Ok(())
    }

    /// The trunks that were told to rest, by name. What a later version wrote counts as disabled.
    ///
    /// # Errors
    /// [`StoreError::Sqlite`].
    pub fn told_trunks(&self) -> Result<Vec<(String, Leave)>, StoreError> {
        let sql = "SELECT trunk, leave FROM trunk_leave ORDER BY trunk";
        let mut statement = self.db.prepare_cached(sql)?;
        let rows = statement.query_map([], |row| {
            let name: String = row.get(1)?;
            let leave = Leave::ALL.into_iter().find(|leave| leave.name() == name);
            Ok((row.get(0)?, leave.unwrap_or(Leave::Disabled)))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_holds_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cooee.db");
        let mut store = Store::open(&path).unwrap();
        for (trunk, leave) in [
            ("b24", Leave::Disabled),
            ("unitalk", Leave::Draining),
            ("unitalk", Leave::Disabled),
            ("b24", Leave::Enabled),
            ("b24", Leave::Draining),
            ("never", Leave::Enabled),
        ] {
            store.tell_trunk(trunk, leave).unwrap();
        }
        drop(store);
        let told = Store::open(&path).unwrap().told_trunks().unwrap();
        let want = [("b24", Leave::Draining), ("unitalk", Leave::Disabled)];
        assert_eq!(told, want.map(|(trunk, leave)| (trunk.to_owned(), leave)));
    }

    #[test]
    fn a_word_that_is_not_known_disables() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("cooee.db")).unwrap();
        store.db.execute("INSERT INTO trunk_leave VALUES ('a', 'asleep', 1)", []).unwrap();
        assert_eq!(store.told_trunks().unwrap(), [("a".to_owned(), Leave::Disabled)]);
    }
}
