//! Rewrite verbs of a profile: what is done to the headers of an INVITE before it leaves for B.
//!
//! They see the headers that the profile writes and those that cross, in the order of the file.
//! What the message itself writes (From, To, Via, Contact, ...) is a slot's matter or nobody's.

use regex::Regex;

use crate::message::name::Name;
use crate::message::text::{is_token, lossy};
use crate::profile::decision::Slots;
use crate::profile::header::{Patterns, long_form};
use crate::profile::template::Template;

/// One verb.
#[derive(Clone, Debug)]
pub enum Rewrite {
    /// Writes a header, in the place of what is there under its name.
    Set {
        /// The header.
        name: String,
        /// What it says; without a value of all its variables the header is not sent.
        value: Template,
    },
    /// Takes headers away.
    Remove(Patterns),
    /// Gives a header another name.
    Rename {
        /// Its name so far.
        from: String,
        /// Its name from now on.
        to: String,
    },
    /// Replaces what a pattern finds in a header's value, wherever it is found.
    Replace {
        /// The header.
        name: String,
        /// What is looked for.
        find: Regex,
        /// What stands in its place; `$1` is the first group.
        with: String,
    },
}

/// Whether a profile may write a header of this name.
pub fn may_write(name: &str) -> bool {
    is_token(name.as_bytes()) && !Name::of(name.as_bytes()).is_of_one_leg()
}

/// Does what the verbs say. `fill` gives the text of a template.
pub(super) fn apply(
    verbs: &[Rewrite],
    slots: &mut Slots,
    mut fill: impl FnMut(&str, &Template) -> Option<String>,
) {
    for verb in verbs {
        match verb {
            Rewrite::Set { name, value } => {
                let value = fill(name, value);
                retain(slots, |other| !same(other, name));
                slots.headers.extend(value.map(|value| (name.clone(), value)));
            }
            Rewrite::Remove(patterns) => {
                retain(slots, |other| !patterns.hold(Name::of(other.as_bytes()), other.as_bytes()))
            }
            Rewrite::Rename { from, to } => {
                if !names(slots).any(|name| same(name, from)) {
                    continue;
                }
                retain(slots, |other| !same(other, to));
                let written = slots.headers.iter_mut().map(|(name, _)| name);
                let crossing = slots.crossing.iter_mut().map(|c| &mut c.name);
                for name in written.chain(crossing).filter(|name| same(name, from)) {
                    name.clone_from(to);
                }
            }
            Rewrite::Replace { name, find, with } => {
                for (_, value) in slots.headers.iter_mut().filter(|(n, _)| same(n, name)) {
                    *value = find.replace_all(value, with.as_str()).trim().to_owned();
                }
                for crossing in slots.crossing.iter_mut().filter(|c| same(&c.name, name)) {
                    let value = lossy(&crossing.value);
                    crossing.value = find.replace_all(&value, with.as_str()).trim().into();
                }
                slots.headers.retain(|(_, value)| !value.is_empty());
                slots.crossing.retain(|crossing| !crossing.value.is_empty());
            }
        }
    }
}

fn names(slots: &Slots) -> impl Iterator<Item = &str> {
    let crossing = slots.crossing.iter().map(|c| c.name.as_str());
    slots.headers.iter().map(|(name, _)| name.as_str()).chain(crossing)
}

fn retain(slots: &mut Slots, keeps: impl Fn(&str) -> bool) {
    slots.headers.retain(|(name, _)| keeps(name));
    slots.crossing.retain(|crossing| keeps(&crossing.name));
}

/// Whether two names are one header, in any case and by their compact forms.
fn same(one: &str, other: &str) -> bool {
    let long = |name: &str| long_form(Name::of(name.as_bytes()), name.as_bytes());
    one.eq_ignore_ascii_case(other) || long(one) == long(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::decision::Crossing;

    fn slots() -> Slots {
        let crossing = |name: &str, value: &str| Crossing {
            name: name.to_owned(),
            value: value.as_bytes().to_vec(),
        };
        Slots {
            headers: vec![("X-Cooee-Call".to_owned(), "7".to_owned())],
            crossing: vec![crossing("X-Meta", "id=12;id=13"), crossing("Subject", "hello")],
            ..Slots::default()
        }
    }

    fn after(verbs: &[Rewrite]) -> Vec<String> {
        let mut slots = slots();
        apply(verbs, &mut slots, |_, template| Some(template.text().to_owned()));
        let crossing = slots.crossing.iter().map(|c| format!("{}: {}", c.name, lossy(&c.value)));
        slots.headers.iter().map(|(n, v)| format!("{n}: {v}")).chain(crossing).collect()
    }

    fn remove(pattern: &str) -> Rewrite {
        let mut patterns = Patterns::default();
        patterns.add(pattern).unwrap();
        Rewrite::Remove(patterns)
    }

    fn replace(name: &str, find: &str, with: &str) -> Rewrite {
        let find = Regex::new(find).unwrap();
        Rewrite::Replace { name: name.to_owned(), find, with: with.to_owned() }
    }

    #[test]
    fn set_writes_over_what_crosses_and_what_is_written() {
        let set = |name: &str| Rewrite::Set {
            name: name.to_owned(),
            value: Template::parse("new").unwrap(),
        };
        assert_eq!(after(&[set("x-meta")]), ["X-Cooee-Call: 7", "x-meta: new", "Subject: hello"]);
        assert_eq!(
            after(&[set("X-Cooee-Call")]),
            ["X-Cooee-Call: new", "X-Meta: id=12;id=13", "Subject: hello"]
        );
    }

    #[test]
    fn remove_takes_by_name_by_beginning_and_in_compact_form() {
        assert_eq!(after(&[remove("X-*")]), ["Subject: hello"]);
        assert_eq!(after(&[remove("s")]), ["X-Cooee-Call: 7", "X-Meta: id=12;id=13"]);
        assert!(after(&[remove("*")]).is_empty());
    }

    #[test]
    fn rename_takes_the_place_of_what_had_the_name() {
        let rename = |from: &str, to: &str| Rewrite::Rename { from: from.into(), to: to.into() };
        assert_eq!(
            after(&[rename("x-meta", "X-Id"), rename("Subject", "X-Cooee-Call")]),
            ["X-Id: id=12;id=13", "X-Cooee-Call: hello"]
        );
        assert_eq!(after(&[rename("X-None", "Subject")]), after(&[]));
    }

    #[test]
    fn replace_puts_groups_in_and_drops_what_is_left_empty() {
        assert_eq!(after(&[replace("X-Meta", r"id=(\d)(\d)", "$2-${1}")])[1], "X-Meta: 2-1;3-1");
        assert_eq!(after(&[replace("SUBJECT", ".*", "")]).len(), 2);
    }

    #[test]
    fn verbs_work_one_after_the_other() {
        let verbs = [replace("X-Meta", ";.*$", ""), remove("Subject"), remove("X-Cooee-*")];
        assert_eq!(after(&verbs), ["X-Meta: id=12"]);
    }

    #[test]
    fn what_belongs_to_a_leg_is_nobodys_to_write() {
        for name in ["Via", "f", "CONTACT", "Authorization", "X Y", "", "Content-Length"] {
            assert!(!may_write(name), "{name}");
        }
        assert!(may_write("X-Meta") && may_write("P-Asserted-Identity") && may_write("Subject"));
    }
}
