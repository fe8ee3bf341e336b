//! How a plane hands a measurement to whoever counts it, without knowing who that is.

/// Takes one measured value. Called on hot paths: an implementation neither locks nor allocates.
pub trait Sample: Send {
    /// Records `ns`, a span in nanoseconds.
    fn record(&mut self, ns: u64);
}

/// Measures nothing: for tests and for planes that run unmeasured.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unmeasured;

impl Sample for Unmeasured {
    fn record(&mut self, _ns: u64) {}
}
