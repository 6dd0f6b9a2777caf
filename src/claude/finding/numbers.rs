//! Numbers that a text states by itself.
//!
//! Anything with a digit counts, in any script, with its signs and units, unless it is plainly a name:
//! one that the contract has, or one that starts with a letter (bf16, n_layer_2, val/code3, GPT-2,
//! v0.3.1). So do the words that stand for a number or a ratio (two to ninety, hundred, dozen, twice,
//! double, half, quarter, tenfold, percent and their kin, "orders of magnitude"). "One", "zero" and
//! ordinals do not: they are pronouns and places of a list more often than results. In backticks a
//! number must be one that the contract has.

use super::template::Fault;

/// Words that state a number or a ratio. "Second" and "third" are places of a list, "one" is a pronoun,
/// and zero is where an interval may or may not lie.
const WORDS: [&str; 78] = [
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
    "twenty",
    "thirty",
    "forty",
    "fifty",
    "sixty",
    "seventy",
    "eighty",
    "ninety",
    "hundred",
    "hundreds",
    "hundredth",
    "hundredths",
    "thousand",
    "thousands",
    "thousandth",
    "thousandths",
    "million",
    "millions",
    "millionth",
    "billion",
    "billions",
    "trillion",
    "dozen",
    "dozens",
    "twice",
    "thrice",
    "double",
    "doubles",
    "doubled",
    "doubling",
    "triple",
    "triples",
    "tripled",
    "tripling",
    "quadruple",
    "quadruples",
    "quadrupled",
    "half",
    "halves",
    "halved",
    "halving",
    "thirds",
    "quarter",
    "quarters",
    "fifths",
    "tenth",
    "tenths",
    "twofold",
    "threefold",
    "fourfold",
    "fivefold",
    "sixfold",
    "eightfold",
    "tenfold",
    "hundredfold",
    "thousandfold",
    "fold",
    "percent",
    "percentage",
    "pct",
];

/// Terms of statistics and of the trade that hold such a word and state nothing.
const TERMS: [&str; 5] = [
    "two-sided",
    "two-tailed",
    "half-precision",
    "double-precision",
    "double-blind",
];

/// Words that before digits make no name: "by2" is a two.
const NO_NAMES: [&str; 34] = [
    "x", "e", "n", "p", "d", "r", "t", "by", "to", "of", "at", "in", "on", "is", "was", "about",
    "approx", "ca", "circa", "minus", "plus", "than", "over", "under", "near", "only", "just",
    "some", "gain", "gains", "loss", "bpb", "effect", "times",
];

const FROM_LEDGER: &str = "write {{key}} and the ledger fills it in; `windtunnel finding STUDY --keys` lists what there is";
const FROM_CONTRACT: &str = "in backticks stand values of the contract as they are there, such as `optimizer.lr = 0.001`; results are written as {{key}}";

/// What in words states a number. `named` says whether the contract has a name.
pub fn in_words(text: &str, at: usize, named: &dyn Fn(&str) -> bool) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (offset, chunk) in chunks(text) {
        let chunk = chunk.replace(['*', '~'], "");
        let shown = chunk.trim_matches(|c: char| ".,;:!?()[]\"'".contains(c));
        let stated = shown.chars().any(char::is_numeric) && !named(shown) && !is_name(shown, named);
        if stated || shown.contains(['%', '‰', '‱']) {
            let problem = format!("{shown:?} is a number that is not from the ledger");
            faults.push(Fault::new(at + offset, problem, FROM_LEDGER));
        } else if let Some(word) = stated_word(shown).filter(|_| !named(possessor(shown))) {
            let problem = format!("{word:?} is a number in words, not from the ledger");
            faults.push(Fault::new(at + offset, problem, FROM_LEDGER));
        }
    }
    let lower = text.to_lowercase();
    for phrase in ["order of magnitude", "orders of magnitude"] {
        if lower.len() == text.len()
            && let Some(offset) = lower.find(phrase)
        {
            let problem = format!("{phrase:?} is a number in words, not from the ledger");
            faults.push(Fault::new(at + offset, problem, FROM_LEDGER));
        }
    }
    faults
}

/// What in code is no value of the contract. `has` says whether the contract has a value, by itself or
/// after its key and " = ".
pub fn in_code(text: &str, at: usize, has: &dyn Fn(&str) -> bool) -> Vec<Fault> {
    let whole = text.trim();
    if has(whole) {
        return Vec::new();
    }
    let apart = |c: char| c.is_whitespace() || "=,;:()[]{}<>\"'|→".contains(c);
    let mut faults = Vec::new();
    let mut offset = 0;
    for token in text.split(apart) {
        let begins = token.chars().next();
        let is_value = token.chars().any(char::is_numeric)
            && !begins.is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
            || (is_value_prefix(token) && token.chars().any(char::is_numeric));
        if is_value && !has(token) {
            let problem = format!("`{token}` is no value of the contract");
            faults.push(Fault::new(at + offset, problem, FROM_CONTRACT));
        }
        offset += token.len();
        offset += text[offset..].chars().next().map_or(0, char::len_utf8);
    }
    faults
}

/// What would turn a key's value into another number: signs, digits, units and factors that touch it,
/// or stand beside it.
pub fn beside(before: &str, after: &str) -> Option<&'static str> {
    let left = before.chars().next_back();
    let touches = |c: char| c.is_alphanumeric() || "+-−±×*/^.,%~".contains(c);
    if left.is_some_and(touches) {
        return Some("what stands before the key changes its value");
    }
    let mut rest = after.chars();
    let (first, second) = (rest.next(), rest.next());
    let goes_on = |c: char| c.is_alphanumeric() || "%‰×*/^_".contains(c);
    if first.is_some_and(goes_on)
        || (first.is_some_and(|c| ".,-".contains(c)) && second.is_some_and(char::is_numeric))
    {
        return Some("what stands after the key changes its value");
    }
    let word = |text: &str| {
        text.trim_matches(|c: char| !c.is_alphanumeric())
            .to_lowercase()
    };
    let previous = before.split_whitespace().next_back().map(word);
    let next = after.split_whitespace().next().map(word);
    let turns = ["minus", "negative", "plus"];
    let factors = ["times", "x", "fold"];
    if before.ends_with(char::is_whitespace)
        && previous.is_some_and(|w| turns.contains(&w.as_str()))
    {
        return Some("the word before the key changes its value");
    }
    (after.starts_with(char::is_whitespace) && next.is_some_and(|w| factors.contains(&w.as_str())))
        .then_some("the word after the key changes its value")
}

fn chunks(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.split_whitespace()
        .map(|chunk| (chunk.as_ptr() as usize - text.as_ptr() as usize, chunk))
}

/// Whether every part of a chunk that has digits is a name.
fn is_name(chunk: &str, named: &dyn Fn(&str) -> bool) -> bool {
    let apart = |c: char| "()[]{}<>=≤≥≈±+,;:\"“”‘’'!?|\\".contains(c);
    let trim = |c: char| ".-–—/_".contains(c);
    chunk
        .split(apart)
        .map(|part| part.trim_matches(trim))
        .filter(|part| part.chars().any(char::is_numeric))
        .all(|part| named(part) || looks_like_a_name(part))
}

/// Whether a token with digits starts as a name does and goes on as one.
fn looks_like_a_name(token: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._/-".contains(c);
    if !token.chars().all(plain) || is_value_prefix(token) {
        return false;
    }
    let (head, tail) = match token.split_once('-') {
        Some((head, tail)) => (head, Some(tail)),
        None => (token, None),
    };
    let letter = |text: &str| text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let whole = |text: &str| text.chars().all(|c| c.is_ascii_digit());
    let version = head.strip_prefix(['v', 'V']);
    let is_version = version.is_some_and(|v| v.split('.').all(|n| !n.is_empty() && whole(n)));
    let is_path = letter(head) && head.split(['.', '/']).all(letter);
    // Names of models: GPT-2, Llama-3-8B. A lower-case word and a number are a word and a number.
    let model = |tail: &str| {
        let alone =
            |part: &str| part.chars().all(|c| c.is_ascii_alphanumeric()) && !part.is_empty();
        let words = |part: &str| part.chars().all(|c| c.is_ascii_alphabetic());
        let upper = head.starts_with(|c: char| c.is_ascii_uppercase());
        tail.split('-')
            .all(|part| alone(part) && (upper || words(part)))
    };
    (is_version || is_path) && tail.is_none_or(model)
}

/// Whether its letters before the first digit are those of no name.
fn is_value_prefix(token: &str) -> bool {
    let letters: String = token
        .chars()
        .take_while(|c| !c.is_numeric())
        .filter(|c| c.is_alphabetic())
        .collect();
    let letters = letters.to_lowercase();
    token.chars().any(char::is_numeric) && NO_NAMES.contains(&letters.as_str())
}

/// A name without its "'s".
fn possessor(name: &str) -> &str {
    let ends = ["'s", "’s"];
    ends.into_iter()
        .find_map(|end| name.strip_suffix(end))
        .unwrap_or(name)
}

fn stated_word(chunk: &str) -> Option<&str> {
    let lower = chunk.to_lowercase();
    if TERMS.iter().any(|term| lower == *term) {
        return None;
    }
    let apart = |c: char| !c.is_alphabetic();
    let stated = |part: &str| WORDS.contains(&part.to_lowercase().as_str());
    chunk.split(apart).find(|part| stated(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stated(text: &str) -> usize {
        in_words(text, 0, &|name| ["code-20", "half_rate"].contains(&name)).len()
    }

    #[test]
    fn a_number_in_any_dress_is_found() {
        for text in [
            "0.05",
            "-0.05",
            "−0.05",
            ".05",
            "5%",
            "5 %",
            "1,000",
            "1 000",
            "1e-3",
            "2x",
            "2×",
            "×2",
            "x2",
            "10³",
            "½",
            "Ⅷ",
            "٣",
            "０.５",
            "𝟓",
            "①",
            "p=0.05",
            "p<.05",
            "~3",
            "≈3",
            "±2",
            "loss:0.05",
            "(0.05)",
            "**0.05**",
            "0.**05**",
            "3rd",
            "10k",
            "by2",
            "minus5",
            "about-3",
            "bpb-0.02",
            "1/3",
            "n=8",
            "loss_0.05",
            "twice",
            "Twice,",
            "two",
            "thirty-two",
            "tenfold",
            "two-fold",
            "half",
            "doubled",
            "a dozen",
            "three-quarters",
            "percent",
            "**two**",
            "tw*ice*",
            "orders of magnitude",
            "2024",
            "[1]",
            "seed-3",
            "loss/2",
            "9-fold",
            "half_time",
            "two_fold",
        ] {
            assert!(stated(text) > 0, "{text}");
        }
    }

    #[test]
    fn names_and_innocent_words_are_left_alone() {
        for text in [
            "GPT-2",
            "GPT-2's",
            "(GPT-2)",
            "bf16",
            "f32,",
            "model.n_layer",
            "n_layer_2",
            "val/code3/bpb",
            "v0.3.1",
            "Llama-3-8B",
            "H100",
            "code-20",
            "half_rate",
            "half_rate's",
            "tend",
            "often",
            "one of them",
            "first",
            "second",
            "zero",
            "two-sided",
            "weight",
            "AdamW8bit",
            "step",
            "the arm that halted",
            "magnitude",
            "someone",
            "non-zero",
            "K1",
        ] {
            assert_eq!(stated(text), 0, "{text}");
        }
    }

    #[test]
    fn code_holds_what_the_contract_has_and_nothing_else() {
        let has = |value: &str| ["0.001", "8", "optimizer.lr = 0.001"].contains(&value);
        let wrong = |text: &str| in_code(text, 0, &has).len();
        for text in [
            "optimizer.lr = 0.001",
            "0.001",
            "model.n_layer",
            "n_head=8",
            "GPT-2",
            "bf16",
        ] {
            assert_eq!(wrong(text), 0, "{text}");
        }
        for text in [
            "0.002",
            "optimizer.lr = 0.002",
            "-0.05",
            "effect=0.5",
            "x2",
            "½",
            "minus0.5",
        ] {
            assert_eq!(wrong(text), 1, "{text}");
        }
    }

    #[test]
    fn a_keys_value_can_not_be_bent_by_what_stands_beside_it() {
        for (before, after) in [
            ("-", ""),
            ("0.", ""),
            ("±", ""),
            ("", "%"),
            ("", "0"),
            ("", ".5"),
            ("", "×"),
            ("", "e3"),
            ("", " times"),
            ("minus ", ""),
            ("10^", ""),
            ("", "/2"),
        ] {
            assert!(beside(before, after).is_some(), "{before}KEY{after}");
        }
        for (before, after) in [
            ("by ", "."),
            ("(", ")"),
            ("", ", and"),
            ("of ", " and times"),
            ("", "; so"),
            ("", "-seed"),
        ] {
            assert!(beside(before, after).is_none(), "{before}KEY{after}");
        }
    }
}
