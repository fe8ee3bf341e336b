//! How good a call sounds, by the E-model of ITU-T G.107 with its default values: what loss and
//! delay leave of the rating of an undisturbed call.
//!
//! An estimate of the network's share alone. It knows nothing of echo, noise or what the
//! microphone heard, and takes the receiver to conceal losses and to hold two packets or twice the
//! jitter back, whichever is more.

/// The rating of an undisturbed call: all of G.107 at its default values.
const UNDISTURBED: f64 = 93.2;

/// What a receiver holds back at least, milliseconds.
const LEAST_BUFFER_MS: f64 = 40.0;

/// What is known of one direction over some time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Way {
    /// The RTP payload type of its packets.
    pub(crate) payload_type: u8,
    /// Packets lost, of all that were sent: 0 to 1.
    pub(crate) loss: f64,
    /// Mean length of a run of losses against that of losses which know nothing of each other: 1
    /// or more (G.107, `BurstR`).
    pub(crate) burst: f64,
    /// Interarrival jitter, milliseconds.
    pub(crate) jitter_ms: f64,
    /// The way there and back, milliseconds, where it is known.
    pub(crate) round_trip_ms: Option<f64>,
}

/// How a codec sounds (G.113, appendix I): the impairment that is its own, and how well it bears
/// loss, in percent.
fn codec(payload_type: u8) -> (f64, f64) {
    match payload_type {
        // GSM full rate, G.723.1 at 6.3 kbit/s, G.729 with concealment.
        3 => (20.0, 10.0),
        4 => (15.0, 16.1),
        18 => (11.0, 19.0),
        // G.711 with concealment; what is not in the table is taken for it.
        _ => (0.0, 25.1),
    }
}

impl Way {
    /// The transmission rating `R`, 0 to 93.2.
    pub(crate) fn rating(&self) -> f64 {
        let (own, robust) = codec(self.payload_type);
        let percent = self.loss.clamp(0.0, 1.0) * 100.0;
        let lossy = own + (95.0 - own) * percent / (percent / self.burst.max(1.0) + robust);
        (UNDISTURBED - delayed(self.delay_ms()) - lossy).max(0.0)
    }

    /// From mouth to ear, as far as it is known.
    fn delay_ms(&self) -> f64 {
        self.round_trip_ms.unwrap_or(0.0) / 2.0 + LEAST_BUFFER_MS.max(self.jitter_ms * 2.0)
    }
}

/// What a delay of so many milliseconds from mouth to ear takes of the rating (G.107, `Idd`).
fn delayed(ms: f64) -> f64 {
    if ms <= 100.0 {
        return 0.0;
    }
    let x = (ms / 100.0).log2();
    let sixth = |x: f64| (1.0 + x.powi(6)).powf(1.0 / 6.0);
    25.0 * (sixth(x) - 3.0 * sixth(x / 3.0) + 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINE: Way =
        Way { payload_type: 8, loss: 0.0, burst: 1.0, jitter_ms: 1.0, round_trip_ms: None };

    fn near(is: f64, wanted: f64) {
        assert!((is - wanted).abs() < 0.05, "{is}, not {wanted}");
    }

    #[test]
    fn an_undisturbed_call_has_the_rating_of_the_standard() {
        near(FINE.rating(), 93.2);
    }

    #[test]
    fn loss_costs_what_the_formula_says_and_more_in_bursts() {
        // 95 * 5 / (5 + 25.1)
        near(Way { loss: 0.05, ..FINE }.rating(), 93.2 - 15.78);
        let burst = Way { loss: 0.05, burst: 2.0, ..FINE };
        near(burst.rating(), 93.2 - 95.0 * 5.0 / 27.6);
        // G.729 starts 11 lower.
        near(Way { payload_type: 18, ..FINE }.rating(), 82.2);
        near(Way { loss: 1.0, burst: 50.0, ..FINE }.rating(), 0.0);
    }

    #[test]
    fn delay_costs_nothing_up_to_100_ms_and_much_past_300() {
        let at = |round_trip_ms| Way { round_trip_ms: Some(round_trip_ms), ..FINE }.rating();
        near(at(120.0), 93.2);
        // One way 200 and 400 ms: Idd of 3.0 and 26.0 by the formula.
        assert!((87.0..92.0).contains(&at(320.0)), "{}", at(320.0));
        assert!((60.0..72.0).contains(&at(720.0)), "{}", at(720.0));
        let shaky = Way { jitter_ms: 100.0, ..FINE };
        near(shaky.rating(), at(320.0));
    }
}
