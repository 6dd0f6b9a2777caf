//! What a finding may not hold because it would read otherwise than it is written: hidden characters,
//! letters of two alphabets in one word, HTML, and references that no key of the library stands for.

use super::template::Fault;

/// What in words is not plain text, or refers to something that is not in the library. `named` knows
/// papers of the library by their arXiv number, as "arXiv:NUMBER".
pub fn faults(text: &str, at: usize, named: &dyn Fn(&str) -> bool) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (offset, c) in text.char_indices() {
        if is_hidden(c) {
            faults.push(Fault::new(
                at + offset,
                format!("the character U+{:04X} can't be seen", u32::from(c)),
                "leave it out",
            ));
        }
        let rest = &text[offset + c.len_utf8()..];
        if c == '<' && rest.starts_with(|c: char| c.is_ascii_alphabetic() || "/!?".contains(c)) {
            faults.push(Fault::new(
                at + offset,
                "a finding is text, not HTML",
                "use Markdown, with a space after \"<\" where it means less",
            ));
        }
        if c == '&' && is_entity(rest) {
            faults.push(Fault::new(
                at + offset,
                "an HTML entity stands for a character that is not seen here",
                "write the character itself",
            ));
        }
    }
    let mut offset = 0;
    for word in text.split_inclusive(char::is_whitespace) {
        let bare = word.trim();
        if mixes_alphabets(bare) {
            let problem = format!("{bare:?} mixes letters of two alphabets");
            faults.push(Fault::new(at + offset, problem, "write it in one"));
        }
        let paper = bare.trim_matches(|c: char| ".,;:!?()[]\"'".contains(c));
        if is_address(bare) && !named(paper) {
            let problem =
                format!("{bare:?} refers to something that is not in the library by its key");
            faults.push(Fault::new(at + offset, problem, CITE));
        }
        offset += word.len();
    }
    for phrase in ["et al", "ibid."] {
        if let Some(found) = text.find(phrase) {
            let problem = format!("{phrase:?} cites without a key");
            faults.push(Fault::new(at + found, problem, CITE));
        }
    }
    faults
}

const CITE: &str =
    "cite as [@key]; `windtunnel lit search WORDS` finds keys, `lit add FILE.bib` adds records";

/// Controls but for the end of a line and a tab, and what joins, hides or turns text around.
fn is_hidden(c: char) -> bool {
    (c.is_control() && c != '\n' && c != '\t')
        || matches!(
            c,
            '\u{ad}' | '\u{61c}' | '\u{34f}' | '\u{180e}' | '\u{feff}' | '\u{200b}'..='\u{200f}'
                | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

fn is_entity(rest: &str) -> bool {
    let inside = |c: char| c.is_ascii_alphanumeric() || c == '#';
    let end = rest.find(|c: char| !inside(c)).unwrap_or(rest.len());
    end > 1 && rest[end..].starts_with(';')
}

/// Latin letters beside Cyrillic, Greek, full-width or mathematical ones that look the same.
fn mixes_alphabets(word: &str) -> bool {
    let twin = |c: char| {
        matches!(c, '\u{370}'..='\u{3ff}' | '\u{400}'..='\u{52f}' | '\u{ff21}'..='\u{ff5a}' | '\u{1d400}'..='\u{1d7ff}')
            && c.is_alphabetic()
    };
    let twins = word.chars().filter(|c| twin(*c)).count();
    let latin = word.chars().filter(char::is_ascii_alphabetic).count();
    // A Greek letter before a name is a symbol: Δloss, β.
    let one_symbol = twins == 1 && word.starts_with(|c: char| matches!(c, '\u{370}'..='\u{3ff}'));
    twins > 0 && latin > 0 && !one_symbol
}

fn is_address(word: &str) -> bool {
    let lower = word.to_ascii_lowercase();
    ["://", "www.", "doi:", "doi.org", "arxiv:", "](/", "](."]
        .iter()
        .any(|mark| lower.contains(mark))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_reads_otherwise_than_it_is_written_is_found() {
        for text in [
            "tw\u{200b}ice",
            "a\u{202e}b",
            "<b>bold",
            "</p>",
            "<!-- x",
            "&frac12;",
            "&#48;",
            "twіce",
            "see https://arxiv.org",
            "arXiv:2001.08361",
            "Liu et al.",
            "\u{ff54}wo times",
        ] {
            assert!(!faults(text, 0, &|_| false).is_empty(), "{text:?}");
        }
    }

    #[test]
    fn plain_text_is_left_alone() {
        for text in [
            "a < b, R&D; β and Δloss",
            "- a list\n\n\twith tabs",
            "été, größer, 漢字",
            "x <- y",
            "(arXiv:2001.08361)",
        ] {
            assert_eq!(
                faults(text, 0, &|name| name == "arXiv:2001.08361"),
                [],
                "{text:?}"
            );
        }
    }
}
