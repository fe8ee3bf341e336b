//! Sections whose features are not built yet: accepted, so that one file serves all versions, and
//! said to be without effect.

use crate::table::Section;

/// All of them. A section leaves this list in the change that builds its feature.
const SECTIONS: [(&str, &str); 5] = [
    ("unitalk", "the Unitalk API and its webhooks"),
    ("dispositions", "dispositions"),
    ("wrapup", "wrap-up"),
    ("alert", "alerts"),
    ("recording", "recording"),
];

/// Accepts the sections that are there, with a note each.
pub(crate) fn accept(root: &mut Section<'_>) {
    for (name, feature) in SECTIONS {
        if root.value(name).is_some() {
            root.note(name, format!("not used yet: {feature}"));
        }
    }
}

/// Accepts keys of a section that is otherwise used, with a note each.
pub(crate) fn accept_keys(section: &mut Section<'_>, keys: &[&str]) {
    for key in keys {
        if section.value(key).is_some() {
            section.note(key, "not used yet".to_owned());
        }
    }
}
