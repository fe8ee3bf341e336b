//! Letters made from facts, in the transaction that stores them.
//!
//! A fact that comes again makes no second letter and takes no sequence: what is counted is what
//! was inserted.

use std::collections::BTreeMap;

use cooee_model::fact::Fact;
use cooee_model::ids::CallId;
use cooee_records::webhook::{Context, Event, Subscription, Telling};
use rusqlite::{OptionalExtension, Transaction, params};

use crate::error::StoreError;
use crate::limits::CONTEXT_US;

/// Makes the letters of a group of facts.
pub(crate) struct Letters<'t> {
    tx: &'t Transaction<'t>,
    telling: &'t Telling,
    /// What is known of the group's calls, and when its last fact came about.
    contexts: BTreeMap<CallId, (Context, i64)>,
    added: u64,
}

impl<'t> Letters<'t> {
    pub(crate) fn new(tx: &'t Transaction<'t>, telling: &'t Telling) -> Self {
        Self { tx, telling, contexts: BTreeMap::new(), added: 0 }
    }

    /// Takes one fact, after those of its call that came before it.
    pub(crate) fn take(&mut self, fact: &Fact) -> Result<(), StoreError> {
        if self.telling.webhooks.is_empty() || !Context::heeds(&fact.what) {
            return Ok(());
        }
        let mut context = match self.contexts.remove(&fact.call) {
            Some((context, _)) => context,
            None => read(self.tx, fact.call)?,
        };
        let created_us = fact.at.wall.div_euclid(1000);
        context.learn(fact);
        if let Some(mut event) = Event::of(fact, &context, &self.telling.node) {
            if self.is_taken(&event)? {
                event = event.apart();
            }
            for to in self.telling.webhooks.iter().filter(|to| to.kinds.contains(&event.kind)) {
                self.post(to, fact.call, &event, created_us, &mut context)?;
            }
        }
        self.contexts.insert(fact.call, (context, created_us));
        Ok(())
    }

    /// Whether the event's id is that of another kind of event.
    fn is_taken(&self, event: &Event) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM letter WHERE event = ? AND kind <> ?";
        Ok(self.tx.prepare_cached(sql)?.exists([&event.id, event.kind.name()])?)
    }

    fn post(
        &mut self,
        to: &Subscription,
        call: CallId,
        event: &Event,
        created_us: i64,
        context: &mut Context,
    ) -> Result<(), StoreError> {
        let (webhook, call) = (&to.webhook, call.to_string());
        let sequence = context.told(webhook) + 1;
        let mut insert = self.tx.prepare_cached(
            "INSERT OR IGNORE INTO letter
               (webhook, call, event, kind, sequence, payload, created_us, state, attempts)
             VALUES (?, ?, ?, ?, ?, ?, ?, 'waiting', 0)",
        )?;
        let body = event.body(sequence);
        let kind = event.kind.name();
        if insert.execute(params![webhook, call, event.id, kind, sequence, body, created_us])? == 1
        {
            context.tell(webhook, sequence);
            self.added += 1;
            self.tx
                .prepare_cached("INSERT OR IGNORE INTO lane VALUES (?, ?, ?, 0, NULL, 0)")?
                .execute(params![webhook, call, created_us])?;
        }
        Ok(())
    }

    /// Keeps what later facts need; how many letters there are more.
    pub(crate) fn finish(self) -> Result<u64, StoreError> {
        let Some(last_us) = self.contexts.values().map(|(_, at_us)| *at_us).max() else {
            return Ok(0);
        };
        let mut keep = self.tx.prepare_cached(
            "INSERT INTO call_context VALUES (?, ?, ?) ON CONFLICT (call)
             DO UPDATE SET context = excluded.context, until_us = excluded.until_us",
        )?;
        for (call, (context, at_us)) in &self.contexts {
            let (alive_us, over_us) = CONTEXT_US;
            let until_us = at_us + if context.is_over() { over_us } else { alive_us };
            let text = serde_json::to_string(context).unwrap_or_default();
            keep.execute(params![call.to_string(), text, until_us])?;
        }
        self.tx
            .prepare_cached("DELETE FROM call_context WHERE until_us <= ?")?
            .execute([last_us])?;
        Ok(self.added)
    }
}

/// What is known of a call. Where its context is gone, the letters that are kept still tell how
/// far each webhook has counted.
fn read(tx: &Transaction<'_>, call: CallId) -> Result<Context, StoreError> {
    let call = call.to_string();
    let kept: Option<String> = tx
        .prepare_cached("SELECT context FROM call_context WHERE call = ?")?
        .query_row([&call], |row| row.get(0))
        .optional()?;
    if let Some(context) = kept.and_then(|text| serde_json::from_str(&text).ok()) {
        return Ok(context);
    }
    let mut context = Context::default();
    let mut counted = tx.prepare_cached(
        "SELECT webhook, max(sequence) FROM letter WHERE event > ?1 || '-' AND event < ?1 || '.'
         GROUP BY +webhook",
    )?;
    let mut rows = counted.query([&call])?;
    while let Some(row) = rows.next()? {
        context.tell(&row.get::<_, String>(0)?, row.get(1)?);
    }
    Ok(context)
}
