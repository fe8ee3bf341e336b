//! Names in Latin letters, for peers that show nothing else.
//!
//! Cyrillic (Russian, Ukrainian, Belarusian, Kazakh) as it is read aloud in English, accented Latin
//! without its accents. What is in no table is left out.

/// Lower-case letters and what they become.
const LETTERS: &[(char, &str)] = &[
    ('а', "a"),
    ('б', "b"),
    ('в', "v"),
    ('г', "g"),
    ('д', "d"),
    ('е', "e"),
    ('ё', "yo"),
    ('ж', "zh"),
    ('з', "z"),
    ('и', "i"),
    ('й', "y"),
    ('к', "k"),
    ('л', "l"),
    ('м', "m"),
    ('н', "n"),
    ('о', "o"),
    ('п', "p"),
    ('р', "r"),
    ('с', "s"),
    ('т', "t"),
    ('у', "u"),
    ('ф', "f"),
    ('х', "kh"),
    ('ц', "ts"),
    ('ч', "ch"),
    ('ш', "sh"),
    ('щ', "shch"),
    ('ъ', ""),
    ('ы', "y"),
    ('ь', ""),
    ('э', "e"),
    ('ю', "yu"),
    ('я', "ya"),
    ('і', "i"),
    ('ї', "yi"),
    ('є', "ye"),
    ('ґ', "g"),
    ('ў', "u"),
    ('ә', "a"),
    ('ғ', "g"),
    ('қ', "k"),
    ('ң', "n"),
    ('ө', "o"),
    ('ұ', "u"),
    ('ү', "u"),
    ('һ', "h"),
    ('à', "a"),
    ('á', "a"),
    ('â', "a"),
    ('ã', "a"),
    ('ä', "a"),
    ('å', "a"),
    ('ā', "a"),
    ('ą', "a"),
    ('æ', "ae"),
    ('ç', "c"),
    ('ć', "c"),
    ('č', "c"),
    ('ď', "d"),
    ('đ', "d"),
    ('ð', "d"),
    ('è', "e"),
    ('é', "e"),
    ('ê', "e"),
    ('ë', "e"),
    ('ē', "e"),
    ('ę', "e"),
    ('ě', "e"),
    ('ğ', "g"),
    ('ì', "i"),
    ('í', "i"),
    ('î', "i"),
    ('ï', "i"),
    ('ī', "i"),
    ('ı', "i"),
    ('ł', "l"),
    ('ñ', "n"),
    ('ń', "n"),
    ('ň', "n"),
    ('ò', "o"),
    ('ó', "o"),
    ('ô', "o"),
    ('õ', "o"),
    ('ö', "o"),
    ('ø', "o"),
    ('ō', "o"),
    ('ő', "o"),
    ('œ', "oe"),
    ('ř', "r"),
    ('ś', "s"),
    ('š', "s"),
    ('ş', "s"),
    ('ß', "ss"),
    ('ť', "t"),
    ('ţ', "t"),
    ('þ', "th"),
    ('ù', "u"),
    ('ú', "u"),
    ('û', "u"),
    ('ü', "u"),
    ('ū', "u"),
    ('ů', "u"),
    ('ű', "u"),
    ('ý', "y"),
    ('ÿ', "y"),
    ('ź', "z"),
    ('ż', "z"),
    ('ž', "z"),
    ('’', "'"),
    ('‘', "'"),
    ('“', "\""),
    ('”', "\""),
    ('«', "\""),
    ('»', "\""),
    ('–', "-"),
    ('—', "-"),
    ('…', "..."),
    ('№', "No"),
    ('\u{a0}', " "),
];

/// `text` in printable ASCII. A capital stays one: `Щ` is `Shch`, and `SHCH` among capitals.
pub fn latin(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    for (at, &c) in chars.iter().enumerate() {
        if c.is_ascii() {
            out.push(c);
            continue;
        }
        let lower = c.to_lowercase().next().unwrap_or(c);
        let Some((_, plain)) = LETTERS.iter().find(|(letter, _)| *letter == lower) else {
            continue;
        };
        let beside = |place: Option<usize>| place.and_then(|p| chars.get(p)).copied();
        let capital = |c: Option<char>| c.is_some_and(char::is_uppercase);
        let letter = |c: Option<char>| c.is_some_and(char::is_alphabetic);
        let (before, after) = (beside(at.checked_sub(1)), beside(Some(at + 1)));
        match (c.is_uppercase(), capital(after) || (!letter(after) && capital(before))) {
            (false, _) => out.push_str(plain),
            (true, true) => out.push_str(&plain.to_ascii_uppercase()),
            (true, false) => {
                let mut rest = plain.chars();
                out.extend(rest.next().map(|first| first.to_ascii_uppercase()));
                out.push_str(rest.as_str());
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_aloud() {
        for (name, wanted) in [
            ("Иван Щукин", "Ivan Shchukin"),
            ("ЩУКИН ЮРИЙ", "SHCHUKIN YURIY"),
            ("Юлия Я.", "Yuliya Ya."),
            ("ПАО «Связь»", "PAO \"Svyaz\""),
            ("Київ, вул. Їжакевича", "Kiyiv, vul. Yizhakevicha"),
            ("Қазақстан Әлем", "Kazakstan Alem"),
            ("Zoë Łukasiewicz-Großmann", "Zoe Lukasiewicz-Grossmann"),
            ("Jane Citizen", "Jane Citizen"),
            ("客户 7", " 7"),
            ("", ""),
        ] {
            assert_eq!(latin(name), wanted);
        }
    }

    #[test]
    fn whatever_comes_is_ascii() {
        let all: String = (0x80..0x3000_u32).filter_map(char::from_u32).collect();
        assert!(latin(&all).is_ascii());
    }
}
