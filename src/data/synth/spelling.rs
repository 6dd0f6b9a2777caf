//! English spelling that depends on neighbours: articles, capitals, plurals, numbers in words.

/// Resolves what depends on neighbours: `^` makes the next letter a capital, `a(n)` becomes "a" or
/// "an", and spaces that an empty option left behind go.
pub(super) fn polish(draft: &str) -> String {
    let mut text = String::with_capacity(draft.len());
    let mut capital = false;
    let mut rest = draft;
    while let Some(c) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("a(n) ") {
            let next = after.trim_start_matches(['^', ' ', '"']);
            text.push(if capital { 'A' } else { 'a' });
            text.push_str(if vowel_sound(next) { "n " } else { " " });
            capital = false;
            rest = after;
            continue;
        }
        rest = &rest[c.len_utf8()..];
        match c {
            '^' => capital = true,
            ' ' if text.is_empty() || text.ends_with([' ', '\n']) => {}
            '\n' => {
                text.truncate(text.trim_end_matches(' ').len());
                text.push('\n');
            }
            c if capital && c.is_ascii_alphanumeric() => {
                text.push(c.to_ascii_uppercase());
                capital = false;
            }
            c => text.push(c),
        }
    }
    text.truncate(text.trim_end().len());
    text
}

/// Whether "an" goes before `text`: letters, or a number in digits.
fn vowel_sound(text: &str) -> bool {
    if ["honest", "hour", "heir"]
        .iter()
        .any(|word| text.starts_with(word))
    {
        return true;
    }
    if ["one", "uni", "use"]
        .iter()
        .any(|word| text.starts_with(word))
    {
        return false;
    }
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    match text.as_bytes().first() {
        Some(b'8') => true,
        Some(b'1') => digits % 3 == 2 && (text.starts_with("11") || text.starts_with("18")),
        Some(c) => b"aeiou".contains(&c.to_ascii_lowercase()),
        None => false,
    }
}

/// The plural of a regular noun.
pub(super) fn regular_plural(noun: &str) -> String {
    let before_y = noun
        .strip_suffix('y')
        .filter(|stem| !stem.ends_with(['a', 'e', 'o', 'u']));
    if let Some(stem) = before_y {
        return format!("{stem}ies");
    }
    let hisses = ["s", "x", "sh", "ch"].iter().any(|end| noun.ends_with(end));
    format!("{noun}{}", if hisses { "es" } else { "s" })
}

/// A number below a thousand in words.
pub(super) fn words(number: i64) -> Option<String> {
    const SMALL: [&str; 20] = [
        "zero",
        "one",
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
    ];
    const TENS: [&str; 10] = [
        "", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety",
    ];
    let n = usize::try_from(number).ok().filter(|n| *n < 1000)?;
    Some(match (n / 100, n % 100) {
        (0, rest) if rest < 20 => SMALL[rest].into(),
        (0, rest) if rest % 10 == 0 => TENS[rest / 10].into(),
        (0, rest) => format!("{}-{}", TENS[rest / 10], SMALL[rest % 10]),
        (hundreds, 0) => format!("{} hundred", SMALL[hundreds]),
        (hundreds, rest) => format!("{} hundred and {}", SMALL[hundreds], words(rest as i64)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plurals_are_regular() {
        for (one, many) in [
            ("cherry", "cherries"),
            ("monkey", "monkeys"),
            ("box", "boxes"),
            ("peach", "peaches"),
            ("bun", "buns"),
        ] {
            assert_eq!(regular_plural(one), many);
        }
    }

    #[test]
    fn articles_follow_the_sound() {
        for (word, an) in [
            ("honest bear", true),
            ("honey cake", false),
            ("one", false),
            ("uncle", true),
            ("80", true),
            ("11", true),
            ("110", false),
            ("1", false),
        ] {
            assert_eq!(vowel_sound(word), an, "{word}");
        }
    }

    #[test]
    fn numbers_have_their_words() {
        let said = |n| words(n).unwrap();
        assert_eq!(said(0), "zero");
        assert_eq!(said(14), "fourteen");
        assert_eq!(said(70), "seventy");
        assert_eq!(said(300), "three hundred");
        assert_eq!(said(985), "nine hundred and eighty-five");
        assert_eq!(words(1000), None);
        assert_eq!(words(-1), None);
    }
}
