//! Words of a text as hashes: what finds text that stands elsewhere too, however it is set.
//!
//! Runs of 13 words are the length that Brown et al. 2020, "Language Models are Few-Shot Learners",
//! look for.

/// Words in a run; a document with fewer is too short to be looked for in parts.
pub const RUN: usize = 13;

/// Runs of letters and digits: punctuation and line breaks do not hide a copy. A letter of a script
/// without spaces between words is a word.
pub fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = &rest[rest.find(char::is_alphanumeric)?..];
        let first = rest.chars().next()?;
        let ends = |c: char| !c.is_alphanumeric() || is_alone(c);
        let end = match is_alone(first) {
            true => first.len_utf8(),
            false => rest.find(ends).unwrap_or(rest.len()),
        };
        let (word, after) = rest.split_at(end);
        rest = after;
        Some(word)
    })
}

/// Whether a letter is of a script that puts no spaces between words: Thai, Lao, Burmese, Khmer,
/// kana, Han.
fn is_alone(c: char) -> bool {
    matches!(c, '\u{0E00}'..='\u{0EFF}' | '\u{1000}'..='\u{109F}' | '\u{1780}'..='\u{17FF}'
        | '\u{3040}'..='\u{30FF}' | '\u{3400}'..='\u{4DBF}' | '\u{4E00}'..='\u{9FFF}'
        | '\u{F900}'..='\u{FAFF}' | '\u{20000}'..='\u{323AF}')
}

/// FNV-1a, of 64 bits, of a word in lower case.
pub fn hash(word: &str) -> u64 {
    let start = 0xcbf2_9ce4_8422_2325;
    if word.is_ascii() {
        let bytes = word.bytes().map(|byte| byte.to_ascii_lowercase());
        return bytes.fold(start, fnv);
    }
    let mut encoded = [0; 4];
    word.chars()
        .flat_map(char::to_lowercase)
        .fold(start, |hash, c| {
            c.encode_utf8(&mut encoded).bytes().fold(hash, fnv)
        })
}

fn fnv(hash: u64, byte: u8) -> u64 {
    (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
}

/// The hash of every word of a text, in order.
pub fn hashes(text: &str) -> Vec<u64> {
    words(text).map(hash).collect()
}

const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// A document's hash: a polynomial in its words' hashes.
pub fn whole(hashes: &[u64]) -> u64 {
    let sum = |sum: u64, hash: &u64| sum.wrapping_mul(FACTOR).wrapping_add(*hash);
    hashes.iter().fold(hashes.len() as u64, sum)
}

/// The hash of every run of 13 words, each from the one before.
pub fn runs(hashes: &[u64]) -> impl Iterator<Item = u64> + '_ {
    let leaving = (0..RUN).fold(1u64, |power, _| power.wrapping_mul(FACTOR));
    let mut sum = 0u64;
    hashes.iter().enumerate().filter_map(move |(i, hash)| {
        sum = sum.wrapping_mul(FACTOR).wrapping_add(*hash);
        if i >= RUN {
            sum = sum.wrapping_sub(hashes[i - RUN].wrapping_mul(leaving));
        }
        (i + 1 >= RUN).then_some(sum)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_has_one_hash_wherever_it_stands() {
        let text: Vec<u64> = (0..40).map(|i| hash(&format!("w{}", i % 17))).collect();
        let all: Vec<u64> = runs(&text).collect();
        assert_eq!(all.len(), 40 - RUN + 1);
        assert_eq!(all[3], runs(&text[3..]).next().unwrap());
        // Word 17 is word 0 again.
        assert_eq!(all[0], all[17]);
        assert_ne!(all[0], all[1]);
        assert_eq!(runs(&text[..RUN - 1]).count(), 0);
    }

    #[test]
    fn words_are_the_same_however_they_are_set() {
        let of = |text: &'static str| words(text).collect::<Vec<_>>();
        assert_eq!(of("Ah, \"Café\"\n\n 12."), ["Ah", "Café", "12"]);
        assert_eq!(of("GPT東京です"), ["GPT", "東", "京", "で", "す"]);
        assert_eq!(of(" … "), [""; 0]);
        assert_eq!(hashes("AH, CAFÉ ΣΣ"), hashes("ah\r\ncafé: σσ"));
        assert_ne!(hashes("ab c"), hashes("a bc"));
    }
}
