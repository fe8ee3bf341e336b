//! Tests of `compose`.
