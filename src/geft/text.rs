//! Makes outside text fit for one line of a log and a column of the ledger.
//!
//! Knows no secrets: those are taken out by `redaction`.

/// Folds whitespace, and takes out control characters and the marks that change how a line is shown.
///
/// `PostgreSQL` text cannot hold U+0000, and a stray line break or direction mark would let the provider forge log lines.
pub(super) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        let before = line.len();
        if before > 0 {
            line.push(' ');
        }
        let start = line.len();
        line.extend(word.chars().filter(|character| is_shown(*character)));
        if line.len() == start {
            line.truncate(before);
        }
    }
    line
}

fn is_shown(character: char) -> bool {
    // Unicode's format characters: most are not seen, and some turn the text around.
    let changes_the_line = matches!(
        character,
        '\u{AD}' | '\u{61C}' | '\u{180E}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}' | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFB}' | '\u{E0000}'..='\u{E007F}'
    );
    !character.is_control() && !changes_the_line
}

/// Cuts a text to so many characters, and shows that something was cut.
pub(super) fn bounded(text: &str, characters: usize) -> String {
    if text.chars().count() <= characters {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(characters.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn outside_text_becomes_one_line() {
        assert_eq!(one_line(" a\r\n\tb\u{0}c \u{1b}[31m\u{2028}d \u{0} e"), "a bc [31m d e");
    }

    #[test]
    fn a_direction_mark_cannot_turn_a_line_round() {
        assert_eq!(one_line("ok\u{202E}di\u{61C}ap"), "okdiap");
    }

    #[test]
    fn a_cut_is_shown() {
        assert_eq!(bounded("äöüß", 4), "äöüß");
        assert_eq!(bounded("äöüßx", 4), "äöü…");
    }

    proptest! {
        #[test]
        fn any_text_becomes_one_bounded_line(text in "\\PC*|[\\x00-\\x20a]*|.*", characters in 1_usize..50) {
            let line = bounded(&one_line(&text), characters);
            prop_assert!(line.chars().count() <= characters);
            prop_assert!(!line.chars().any(char::is_control));
            prop_assert!(!line.contains("  "));
        }

        #[test]
        fn cleaning_twice_changes_nothing(text in ".*") {
            let once = one_line(&text);
            prop_assert_eq!(one_line(&once), once);
        }
    }
}
