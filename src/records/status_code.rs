//! What Bitrix24 is told of a call: its `STATUS_CODE`, by the tables of product definition 5.1
//! and 5.2 and of RFC 3398.

use cooee_model::account::{Account, Outcome, Party, Role};

/// A code that `telephony.externalCall.finish` takes.
pub type StatusCode = &'static str;

/// The codes that Bitrix24 knows.
pub const ALL: [StatusCode; 13] =
    ["200", "304", "603", "603-S", "403", "404", "486", "484", "503", "480", "402", "423", OTHER];

const OTHER: StatusCode = "OTHER";

/// Final SIP codes of B, where no agent was reached. What is not here is `OTHER`; so is SIP's 423
/// (Interval Too Brief), which is not Bitrix24's 423 (blocked). 408 and 487 are decided by more
/// than the code: see [`of`].
const BY_SIP: &[(StatusCode, &[u16])] = &[
    ("486", &[486, 600]),
    ("603", &[603, 607]),
    ("480", &[480]),
    ("404", &[404, 410, 485, 604]),
    ("484", &[484, 416, 414]),
    ("403", &[401, 407, 403, 433, 436, 437, 438, 608]),
    ("402", &[402]),
    ("503", &[500, 501, 502, 503, 504, 405, 406, 415, 420, 421, 482, 483, 488, 580, 606]),
];

/// Q.850 causes to the SIP code that they mean (RFC 3398, 7.2.4.1). Cause 16 (normal clearing) is
/// not here: it says nothing beyond the SIP code.
const BY_CAUSE: &[(u16, &[u16])] = &[
    (404, &[1, 2, 3, 26]),
    (486, &[17]),
    (408, &[18]),
    (480, &[19, 20, 31]),
    (403, &[21, 55, 57, 87]),
    (410, &[22, 23]),
    (502, &[27]),
    (484, &[28]),
    (501, &[29, 79]),
    (503, &[34, 38, 41, 42, 47, 58, 88]),
    (488, &[65, 70]),
    (504, &[102]),
    (500, &[111, 127]),
];

/// Outcomes for which no code is known, where none was seen on the wire.
const BY_OUTCOME: &[(Outcome, StatusCode)] = &[
    (Outcome::Busy, "486"),
    (Outcome::Declined, "603"),
    (Outcome::Invalid, "404"),
    (Outcome::Blocked, "403"),
    (Outcome::Technical, "503"),
];

/// Why cooee itself refuses a number (the start of the account's reason).
const BARRED: [&str; 2] = ["blacklist", "dnc"];

/// The status of a finished call; `None`: not known, and never guessed (the platform answered and
/// nothing says whether an agent did).
pub fn of(account: &Account) -> Option<StatusCode> {
    let times = &account.times;
    if times.agent.is_some() || account.outcome == Outcome::Connected {
        return Some("200");
    }
    Some(match account.outcome {
        Outcome::UnknownAgent => return None,
        Outcome::Recovered if times.b_200.is_some() => return None,
        Outcome::Abandoned => "304",
        // The platform answered, looked for an agent, and hung up without one.
        Outcome::NoAnswer if times.b_200.is_some() => "304",
        Outcome::NoAck => OTHER,
        Outcome::Canceled if account.role == Some(Role::CustomerLeg) => "603-S",
        Outcome::Canceled => "304",
        Outcome::Blocked if account.end_party == Party::Bridge => {
            if BARRED.iter().any(|barred| account.reason.starts_with(barred)) {
                "423"
            } else {
                "403"
            }
        }
        _ => by_code(account),
    })
}

fn by_code(account: &Account) -> StatusCode {
    let rang = account.times.b_18x.is_some();
    let code = match sip_of_cause(account.q850) {
        // RFC 3398 makes of a rejected call a 603 where the user rejected it, and 603 says so.
        Some(403) if account.q850 == 21 && account.sip_final == 603 => 603,
        Some(code) => code,
        None => account.sip_final,
    };
    match (code, account.outcome) {
        (408, _) | (0 | 487, Outcome::NoAnswer) => {
            if rang {
                "304"
            } else {
                "503"
            }
        }
        (0, outcome) => {
            BY_OUTCOME.iter().find(|(o, _)| *o == outcome).map_or(OTHER, |(_, status)| status)
        }
        _ => BY_SIP.iter().find(|(_, codes)| codes.contains(&code)).map_or(OTHER, |(s, _)| s),
    }
}

/// The SIP code that a Q.850 cause means; `None` for 0, for 16 and for causes without a row.
pub fn sip_of_cause(q850: u16) -> Option<u16> {
    BY_CAUSE.iter().find(|(_, causes)| causes.contains(&q850)).map(|(code, _)| *code)
}

#[cfg(test)]
mod tests {
    use cooee_model::ids::CallId;
    use cooee_model::moment::Moment;

    use super::*;

    const T: Option<Moment> = Some(Moment::new(1, 1));

    fn account(outcome: Outcome, sip_final: u16) -> Account {
        let mut account = Account::new(CallId(1), "n", Moment::default());
        (account.outcome, account.sip_final) = (outcome, sip_final);
        account.role = Some(Role::AgentLeg);
        account
    }

    fn with(outcome: Outcome, sip: u16, change: impl FnOnce(&mut Account)) -> Option<StatusCode> {
        let mut account = account(outcome, sip);
        change(&mut account);
        of(&account)
    }

    #[test]
    fn an_agent_who_was_reached_is_200_whatever_the_final_code_says() {
        for (sip, cause) in [(200, 0), (603, 21), (486, 17), (503, 38), (0, 0)] {
            let reached = with(Outcome::Connected, sip, |a| {
                (a.times.agent, a.q850) = (T, cause);
            });
            assert_eq!(reached, Some("200"), "{sip} {cause}");
        }
        assert_eq!(with(Outcome::Recovered, 0, |a| a.times.agent = T), Some("200"));
        assert_eq!(of(&account(Outcome::Connected, 200)), Some("200"));
    }

    #[test]
    fn an_answer_of_the_platform_alone() {
        assert_eq!(with(Outcome::Abandoned, 200, |a| a.times.b_200 = T), Some("304"));
        assert_eq!(with(Outcome::NoAnswer, 200, |a| a.times.b_200 = T), Some("304"));
        assert_eq!(with(Outcome::UnknownAgent, 200, |a| a.times.b_200 = T), None);
        assert_eq!(with(Outcome::Recovered, 200, |a| a.times.b_200 = T), None);
        assert_eq!(of(&account(Outcome::Recovered, 503)), Some("503"));
        assert_eq!(with(Outcome::NoAck, 200, |a| a.times.b_200 = T), Some("OTHER"));
    }

    #[test]
    fn timers_and_cancels() {
        assert_eq!(with(Outcome::NoAnswer, 408, |a| a.times.b_18x = T), Some("304"));
        assert_eq!(with(Outcome::NoAnswer, 487, |a| a.times.b_18x = T), Some("304"), "ring timer");
        assert_eq!(with(Outcome::NoAnswer, 0, |a| a.times.b_18x = T), Some("304"));
        assert_eq!(of(&account(Outcome::NoAnswer, 408)), Some("503"));
        assert_eq!(of(&account(Outcome::Technical, 408)), Some("503"), "Timer B");
        assert_eq!(of(&account(Outcome::Technical, 0)), Some("503"), "transport");
        assert_eq!(of(&account(Outcome::Canceled, 487)), Some("304"));
        assert_eq!(of(&account(Outcome::Canceled, 0)), Some("304"), "before any answer");
        let customer_leg = |a: &mut Account| a.role = Some(Role::CustomerLeg);
        assert_eq!(with(Outcome::Canceled, 487, customer_leg), Some("603-S"));
    }

    #[test]
    fn our_own_refusals() {
        let refused = |reason: &str| {
            with(Outcome::Blocked, 403, |a| {
                (a.end_party, a.reason) = (Party::Bridge, reason.to_owned());
            })
        };
        assert_eq!(refused("blacklist"), Some("423"));
        assert_eq!(refused("dnc: asked not to be called"), Some("423"));
        assert_eq!(refused("outside hours"), Some("403"));
        assert_eq!(refused("daily cap"), Some("403"));
    }

    #[test]
    fn every_final_code_of_the_table() {
        let golden: [(&str, &[u16]); 9] = [
            ("486", &[486, 600]),
            ("603", &[603, 607]),
            ("480", &[480]),
            ("404", &[404, 410, 485, 604]),
            ("484", &[484, 416, 414]),
            ("403", &[401, 407, 403, 433, 436, 437, 438, 608]),
            ("402", &[402]),
            ("503", &[500, 502, 503, 504, 501, 405, 406, 415, 420, 421, 482, 483, 488, 580, 606]),
            ("OTHER", &[300, 301, 302, 305, 380, 400, 413, 423, 481, 491, 493, 505, 513, 499]),
        ];
        for (status, codes) in golden {
            for code in codes {
                let found = of(&account(Outcome::Technical, *code));
                assert_eq!(found, Some(status), "{code}");
                let normal = with(Outcome::Technical, *code, |a| a.q850 = 16);
                assert_eq!(normal, Some(status), "{code}: cause 16 maps to nothing");
            }
        }
        let rows: usize = BY_SIP.iter().map(|(_, codes)| codes.len()).sum();
        let golden: usize = golden[..8].iter().map(|(_, codes)| codes.len()).sum();
        assert_eq!(rows, golden, "every row of the table is in the golden one");
    }

    #[test]
    fn every_cause_of_rfc_3398() {
        let golden: [(u16, u16, &str); 33] = [
            (1, 404, "404"),
            (2, 404, "404"),
            (3, 404, "404"),
            (26, 404, "404"),
            (17, 486, "486"),
            (18, 408, "503"),
            (19, 480, "480"),
            (20, 480, "480"),
            (31, 480, "480"),
            (21, 403, "403"),
            (22, 410, "404"),
            (23, 410, "404"),
            (27, 502, "503"),
            (28, 484, "484"),
            (29, 501, "503"),
            (79, 501, "503"),
            (34, 503, "503"),
            (38, 503, "503"),
            (41, 503, "503"),
            (42, 503, "503"),
            (47, 503, "503"),
            (58, 503, "503"),
            (88, 503, "503"),
            (55, 403, "403"),
            (57, 403, "403"),
            (87, 403, "403"),
            (65, 488, "503"),
            (70, 488, "503"),
            (102, 504, "503"),
            (111, 500, "503"),
            (127, 500, "503"),
            (16, 0, "OTHER"),
            (0, 0, "OTHER"),
        ];
        for (cause, sip, status) in golden {
            assert_eq!(sip_of_cause(cause).unwrap_or(0), sip, "cause {cause}");
            let found = with(Outcome::Technical, 499, |a| a.q850 = cause);
            assert_eq!(found, Some(status), "cause {cause}");
        }
        let causes: usize = BY_CAUSE.iter().map(|(_, causes)| causes.len()).sum();
        assert_eq!(causes, golden.len() - 2, "every cause has its golden row");
        let by_the_user = with(Outcome::Declined, 603, |a| a.q850 = 21);
        assert_eq!(by_the_user, Some("603"), "cause 21 with the user's location");
        let rang = with(Outcome::NoAnswer, 480, |a| (a.q850, a.times.b_18x) = (18, T));
        assert_eq!(rang, Some("304"));
    }

    #[test]
    fn an_outcome_without_a_code() {
        for (outcome, status) in [
            (Outcome::Busy, "486"),
            (Outcome::Declined, "603"),
            (Outcome::Invalid, "404"),
            (Outcome::Blocked, "403"),
            (Outcome::Technical, "503"),
            (Outcome::Recovered, "OTHER"),
        ] {
            assert_eq!(of(&account(outcome, 0)), Some(status), "{outcome}");
        }
    }

    #[test]
    fn only_codes_that_bitrix24_knows() {
        let tables = BY_SIP.iter().map(|(s, _)| *s).chain(BY_OUTCOME.iter().map(|(_, s)| *s));
        for status in tables.chain(["304", "603-S", "423", "200", OTHER]) {
            assert!(ALL.contains(&status), "{status}");
        }
    }
}
