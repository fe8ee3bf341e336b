//! Conditions of routes: trees of `all`, `any` and `not` over tests of one field each.

use regex::Regex;

/// Which calls a route takes.
#[derive(Clone, Debug, Default)]
pub enum Condition {
    /// Every call.
    #[default]
    Always,
    /// Those that pass all of these.
    All(Vec<Condition>),
    /// Those that pass one of these.
    Any(Vec<Condition>),
    /// Those that do not pass this.
    Not(Box<Condition>),
    /// Those whose field passes this test.
    Test(Field, Test),
}

/// What a test looks at. A number is compared by its E.164 digits without `+`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// What was dialled.
    To,
    /// The user part of From.
    From,
    /// The person outside.
    Customer,
    /// The number of the autodialer's row.
    Did,
    /// The autodialer's id.
    Autodialer,
    /// The initiative of the autodialer's row.
    Campaign,
    /// The trunk that the call came from.
    Trunk,
    /// `in` for an agent-leg (the customer comes to us), `out` for a customer-leg.
    Direction,
    /// The role of the route.
    Role,
    /// `mon` to `sun`.
    Weekday,
    /// 0 to 23.
    Hour,
    /// The state of the customer's number.
    State,
    /// A header of the INVITE.
    Header(String),
}

/// The names that fields have; `x` stands for any name.
pub const FIELDS: [&str; 13] = [
    "to",
    "from",
    "customer",
    "did",
    "autodialer",
    "campaign",
    "trunk",
    "direction",
    "role",
    "weekday",
    "hour",
    "state",
    "header:x",
];

impl Field {
    /// The field with this name.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "to" => Self::To,
            "from" => Self::From,
            "customer" => Self::Customer,
            "did" => Self::Did,
            "autodialer" => Self::Autodialer,
            "campaign" => Self::Campaign,
            "trunk" => Self::Trunk,
            "direction" => Self::Direction,
            "role" => Self::Role,
            "weekday" => Self::Weekday,
            "hour" => Self::Hour,
            "state" => Self::State,
            _ => Self::Header(name.strip_prefix("header:").filter(|h| !h.is_empty())?.to_owned()),
        })
    }

    /// Its name.
    pub fn name(&self) -> String {
        match self {
            Self::Header(name) => format!("header:{name}"),
            Self::To => "to".to_owned(),
            Self::From => "from".to_owned(),
            Self::Customer => "customer".to_owned(),
            Self::Did => "did".to_owned(),
            Self::Autodialer => "autodialer".to_owned(),
            Self::Campaign => "campaign".to_owned(),
            Self::Trunk => "trunk".to_owned(),
            Self::Direction => "direction".to_owned(),
            Self::Role => "role".to_owned(),
            Self::Weekday => "weekday".to_owned(),
            Self::Hour => "hour".to_owned(),
            Self::State => "state".to_owned(),
        }
    }

    /// Whether values are telephone numbers, so that a `+` in the configuration is dropped.
    pub const fn is_number(&self) -> bool {
        matches!(self, Self::To | Self::From | Self::Customer | Self::Did)
    }
}

/// What a field must be. A missing field passes `Ne`, `Exists(false)` and nothing else.
#[derive(Clone, Debug)]
pub enum Test {
    /// This.
    Eq(String),
    /// Not this.
    Ne(String),
    /// One of these.
    In(Vec<String>),
    /// On the blacklist.
    InBlacklist,
    /// Beginning so.
    Prefix(String),
    /// Matching this.
    Regex(Regex),
    /// A smaller number than this.
    Lt(i64),
    /// A larger number than this.
    Gt(i64),
    /// Present, or not.
    Exists(bool),
}

/// The call that a condition is asked about.
pub trait Subject {
    /// The value of a field; `None` where the call has none.
    fn value(&self, field: &Field) -> Option<String>;
    /// Whether these digits are on the blacklist.
    fn is_blacklisted(&self, digits: &str) -> bool;
}

impl Condition {
    /// Whether the call passes.
    pub fn holds(&self, subject: &dyn Subject) -> bool {
        self.failing(subject).is_none()
    }

    /// The test because of which the call does not pass, for people.
    pub fn failing(&self, subject: &dyn Subject) -> Option<String> {
        match self {
            Self::Always => None,
            Self::All(all) => all.iter().find_map(|c| c.failing(subject)),
            Self::Any(any) => {
                let mut last = "`any` of nothing".to_owned();
                for condition in any {
                    last = condition.failing(subject)?;
                }
                Some(last)
            }
            Self::Not(inner) => match inner.failing(subject) {
                None => Some("a `not` holds".to_owned()),
                Some(_) => None,
            },
            Self::Test(field, test) => {
                let value = subject.value(field);
                let passes = test.passes(value.as_deref(), subject);
                (!passes).then(|| {
                    let value = value.unwrap_or_else(|| "missing".to_owned());
                    format!("{} is {value}, not {}", field.name(), test.words())
                })
            }
        }
    }
}

impl Test {
    fn passes(&self, value: Option<&str>, subject: &dyn Subject) -> bool {
        let Some(value) = value else {
            return matches!(self, Self::Ne(_) | Self::Exists(false));
        };
        let number = || value.parse::<i64>().ok();
        match self {
            Self::Eq(wanted) => value == wanted,
            Self::Ne(unwanted) => value != unwanted,
            Self::In(list) => list.iter().any(|item| item == value),
            Self::InBlacklist => subject.is_blacklisted(value),
            Self::Prefix(prefix) => value.starts_with(prefix.as_str()),
            Self::Regex(regex) => regex.is_match(value),
            Self::Lt(bound) => number().is_some_and(|n| n < *bound),
            Self::Gt(bound) => number().is_some_and(|n| n > *bound),
            Self::Exists(wanted) => *wanted,
        }
    }

    /// For people: what a value has to be.
    pub fn words(&self) -> String {
        match self {
            Self::Eq(v) => v.clone(),
            Self::Ne(v) => format!("other than {v}"),
            Self::In(list) => format!("in {}", list.join(", ")),
            Self::InBlacklist => "on the blacklist".to_owned(),
            Self::Prefix(v) => format!("beginning with {v}"),
            Self::Regex(v) => format!("matching {v}"),
            Self::Lt(v) => format!("below {v}"),
            Self::Gt(v) => format!("above {v}"),
            Self::Exists(true) => "present".to_owned(),
            Self::Exists(false) => "absent".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Call;

    impl Subject for Call {
        fn value(&self, field: &Field) -> Option<String> {
            match field {
                Field::To => Some("97".to_owned()),
                Field::Hour => Some("9".to_owned()),
                Field::Customer => Some("61491570156".to_owned()),
                _ => None,
            }
        }
        fn is_blacklisted(&self, digits: &str) -> bool {
            digits == "61491570156"
        }
    }

    fn test(field: Field, test: Test) -> Condition {
        Condition::Test(field, test)
    }

    #[test]
    fn each_test_by_a_value_and_by_none() {
        let yes = |t: Test| test(Field::To, t).holds(&Call);
        assert!(yes(Test::Eq("97".into())) && !yes(Test::Eq("9".into())));
        assert!(yes(Test::Ne("9".into())) && !yes(Test::Ne("97".into())));
        assert!(yes(Test::In(vec!["1".into(), "97".into()])) && !yes(Test::In(vec![])));
        assert!(yes(Test::Prefix("9".into())) && !yes(Test::Prefix("7".into())));
        assert!(yes(Test::Regex(Regex::new("^9.$").unwrap())));
        assert!(yes(Test::Gt(96)) && !yes(Test::Gt(97)) && yes(Test::Lt(98)));
        assert!(yes(Test::Exists(true)) && !yes(Test::Exists(false)));
        let none = |t: Test| test(Field::Header("X".into()), t).holds(&Call);
        assert!(none(Test::Ne("a".into())) && none(Test::Exists(false)));
        assert!(!none(Test::Eq("a".into())) && !none(Test::Exists(true)) && !none(Test::Lt(1)));
        assert!(test(Field::Customer, Test::InBlacklist).holds(&Call));
    }

    #[test]
    fn trees_and_the_reason_of_a_no() {
        let nine = || test(Field::To, Test::Prefix("9".into()));
        let listed = || test(Field::Customer, Test::InBlacklist);
        let tree = Condition::All(vec![nine(), Condition::Not(Box::new(listed()))]);
        assert_eq!(tree.failing(&Call).as_deref(), Some("a `not` holds"));
        assert!(Condition::Any(vec![Condition::Not(Box::new(nine())), nine()]).holds(&Call));
        assert!(!Condition::Any(vec![]).holds(&Call));
        assert!(Condition::All(vec![]).holds(&Call));
        let early = test(Field::Hour, Test::Lt(9));
        assert_eq!(early.failing(&Call).as_deref(), Some("hour is 9, not below 9"));
    }

    #[test]
    fn every_field_is_known_by_its_name() {
        for name in FIELDS {
            assert_eq!(Field::named(name).unwrap().name(), name);
        }
        assert_eq!(Field::named("header:"), None);
        assert_eq!(Field::named("crm.stage"), None);
    }
}
