//! What the node says of itself: asked over HTTP, as any reader of its API would.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

/// The admin API of the node.
#[derive(Clone, Debug)]
pub(super) struct Node {
    client: reqwest::Client,
    base: String,
}

impl Node {
    pub(super) fn new(admin: SocketAddr) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5));
        Ok(Self { client: client.build()?, base: format!("http://{admin}") })
    }

    async fn get(&self, path: &str) -> Result<Value, reqwest::Error> {
        let answer = self.client.get(format!("{}{path}", self.base)).send().await?;
        answer.error_for_status()?.json().await
    }

    /// Rows of `/v1/cdr`: the last calls that ended, newest first.
    pub(super) async fn cdrs(&self) -> Result<Vec<Row>, reqwest::Error> {
        Ok(Row(self.get("/v1/cdr?limit=200").await?).rows("rows"))
    }

    /// What came from both sides of one call.
    pub(super) async fn media(&self, id: &str) -> Result<Vec<Row>, reqwest::Error> {
        Ok(Row(self.get(&format!("/v1/cdr/{id}")).await?).rows("media"))
    }

    /// The calls that are up, then those that ended, as `/v1/calls` tells them.
    pub(super) async fn calls(&self) -> Result<(Vec<Row>, Vec<Row>), reqwest::Error> {
        let calls = Row(self.get("/v1/calls").await?);
        Ok((calls.rows("up"), calls.rows("recent")))
    }

    /// How many events of portals came to this.
    pub(super) async fn heard(&self, result: &str) -> Result<u64, reqwest::Error> {
        let metrics = self.client.get(format!("{}/metrics", self.base)).send().await?;
        let text = metrics.error_for_status()?.text().await?;
        let start = format!("cooee_portal_events_total{{result=\"{result}\"}} ");
        let line = text.lines().find_map(|line| line.strip_prefix(start.as_str()));
        Ok(line.and_then(|figure| figure.parse().ok()).unwrap_or_default())
    }

    /// One row for each histogram.
    pub(super) async fn latency(&self) -> Result<Vec<Row>, reqwest::Error> {
        Ok(Row(self.get("/v1/latency").await?).rows("histograms"))
    }
}

/// One JSON object.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row(pub(super) Value);

impl Row {
    fn rows(&self, name: &str) -> Vec<Self> {
        let rows = self.0.get(name).and_then(Value::as_array);
        rows.into_iter().flatten().map(|row| Self(row.clone())).collect()
    }

    /// Text; empty where it is null or absent.
    pub(super) fn text(&self, name: &str) -> &str {
        self.0.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// A whole number.
    pub(super) fn int(&self, name: &str) -> Option<i64> {
        self.0.get(name)?.as_i64()
    }

    /// A number.
    pub(super) fn number(&self, name: &str) -> Option<f64> {
        self.0.get(name)?.as_f64()
    }
}
