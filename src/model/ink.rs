//! A writer for CBOR that costs a store where a byte is written.
//!
//! What survives a crash is written on every step of every call, in pieces of one to nine bytes.
//! minicbor's own writer for `Vec` is a call into another crate and one into `memcpy` for each.

use std::convert::Infallible;

use minicbor::Encode;
use minicbor::encode::Write;

/// Appends to a buffer.
#[derive(Debug)]
pub struct Ink<'a>(&'a mut Vec<u8>);

impl Write for Ink<'_> {
    type Error = Infallible;

    #[inline(always)]
    fn write_all(&mut self, bytes: &[u8]) -> Result<(), Infallible> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

/// Appends `value` to `out`. `false`: its own encoder refused, and what is there is no value.
pub fn write(value: &impl Encode<()>, out: &mut Vec<u8>) -> bool {
    minicbor::encode(value, Ink(out)).is_ok()
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_is_written_is_what_minicbor_writes() {
        let value = (1_u8, "text", Some(70_000_u64), [1.5_f64, -1.0], None::<u8>);
        let mut out = b"before".to_vec();
        assert!(super::write(&value, &mut out));
        assert_eq!(out.strip_prefix(b"before").unwrap(), minicbor::to_vec(value).unwrap());
    }
}
