//! The outside world, simulated: Unitalk, a Bitrix24 line on Voximplant with its portal, and a
//! receiver of webhooks. For the demo alone; never in the path of a real call.
//!
//! The simulators are also the oracle. Each notes with its own clock what it sent and what came to
//! it ([`truth`]), and none shares a line with the product's own SIP, RTP or webhooks.

pub mod clock;
mod digest;
pub mod endpoint;
pub mod leg;
pub mod limits;
pub mod portal;
pub mod receiver;
pub mod rtp;
pub mod truth;
pub mod unitalk;
pub mod voximplant;
pub mod wire;

#[cfg(test)]
mod tests;
