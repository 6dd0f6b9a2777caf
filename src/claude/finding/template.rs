//! A finding as it was written: text with `{{keys}}`, `code` and [@citations], cut into its parts.

/// What is wrong at a place of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Bytes before it.
    pub at: usize,
    pub problem: String,
    pub remedy: String,
}

impl Fault {
    pub fn new(at: usize, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            at,
            problem: problem.into(),
            remedy: remedy.into(),
        }
    }
}

/// A stretch of a text, and where it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part<'a> {
    pub at: usize,
    pub kind: Kind,
    /// Without braces, backticks and @.
    pub text: &'a str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Words,
    /// Between backticks.
    Code,
    /// What the ledger fills in.
    Key,
    /// A record of the library.
    Citation,
}

/// A text's parts, in order, and what can't be read.
pub fn parts(text: &str) -> (Vec<Part<'_>>, Vec<Fault>) {
    let mut reader = Reader {
        text,
        ..Reader::default()
    };
    while reader.at < text.len() {
        reader.step();
    }
    reader.flush(text.len());
    if let Some((at, _)) = reader.code {
        reader.faults.push(Fault::new(
            at,
            "a backtick has no partner",
            "close the code with as many backticks as opened it",
        ));
    }
    (reader.parts, reader.faults)
}

#[derive(Default)]
struct Reader<'a> {
    text: &'a str,
    at: usize,
    /// Where the stretch that is being read began.
    begun: usize,
    /// Where code was opened, and with how many backticks.
    code: Option<(usize, usize)>,
    parts: Vec<Part<'a>>,
    faults: Vec<Fault>,
}

impl<'a> Reader<'a> {
    fn step(&mut self) {
        let rest = &self.text[self.at..];
        if rest.starts_with("{{") {
            self.key(rest);
        } else if rest.starts_with("}}") {
            self.faults.push(Fault::new(
                self.at,
                "\"}}\" closes nothing",
                "write a key as {{verdict.effect}}",
            ));
            self.skip(2);
        } else if rest.starts_with('`') {
            self.backticks(rest);
        } else if rest.starts_with('@') && self.code.is_none() {
            self.citation(rest);
        } else {
            self.at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }

    /// Ends the stretch before `end`.
    fn flush(&mut self, end: usize) {
        let kind = match self.code {
            Some(_) => Kind::Code,
            None => Kind::Words,
        };
        self.part(kind, self.begun, end);
    }

    fn part(&mut self, kind: Kind, from: usize, to: usize) {
        if from < to {
            let text = &self.text[from..to];
            self.parts.push(Part {
                at: from,
                kind,
                text,
            });
        }
    }

    /// Ends the stretch here and begins another after so many bytes.
    fn skip(&mut self, bytes: usize) {
        self.flush(self.at);
        self.at += bytes;
        self.begun = self.at;
    }

    fn key(&mut self, rest: &str) {
        let Some(length) = rest.find("}}") else {
            self.faults.push(Fault::new(
                self.at,
                "\"{{\" is not closed",
                "write a key as {{verdict.effect}}",
            ));
            self.skip(2);
            return;
        };
        let inside = &rest[2..length];
        let key = inside.trim();
        let from = self.at + 2 + (inside.len() - inside.trim_start().len());
        self.skip(length + 2);
        match key.is_empty() {
            true => self.faults.push(Fault::new(
                from,
                "a key is empty",
                "name what to fill in, such as {{verdict.effect}}",
            )),
            false => self.part(Kind::Key, from, from + key.len()),
        }
    }

    fn backticks(&mut self, rest: &str) {
        let n = rest.len() - rest.trim_start_matches('`').len();
        match self.code {
            None => {
                let opened = (self.at, n);
                self.skip(n);
                self.code = Some(opened);
            }
            Some((_, opened)) if opened == n => {
                self.skip(n);
                // What was flushed was code; what follows is not.
                self.code = None;
            }
            Some(_) => self.at += n,
        }
    }

    fn citation(&mut self, rest: &str) {
        let inside = |c: char| c.is_ascii_alphanumeric() || "_:.-/".contains(c);
        let name = &rest[1..];
        let end = name.find(|c: char| !inside(c)).unwrap_or(name.len());
        let key = name[..end].trim_end_matches(['.', ':', '-', '/']);
        let from = self.at + 1;
        self.skip(1 + key.len());
        match key.is_empty() {
            true => self.faults.push(Fault::new(
                from - 1,
                "\"@\" names no record",
                "cite as [@key]; `windtunnel lit search WORDS` finds keys",
            )),
            false => self.part(Kind::Citation, from, from + key.len()),
        }
    }
}

/// "line:column" of a place in a text, both from 1.
pub fn place(text: &str, at: usize) -> String {
    let before = &text[..at.min(text.len())];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    format!("{line}:{column}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_into_words_code_keys_and_citations() {
        let text = "Slow by {{ verdict.effect }} with `lr = {{contract.x}}` [@liu2024; @b].";
        let (parts, faults) = parts(text);
        assert!(faults.is_empty(), "{faults:?}");
        let seen: Vec<(Kind, &str)> = parts.iter().map(|p| (p.kind, p.text)).collect();
        assert_eq!(
            seen,
            [
                (Kind::Words, "Slow by "),
                (Kind::Key, "verdict.effect"),
                (Kind::Words, " with "),
                (Kind::Code, "lr = "),
                (Kind::Key, "contract.x"),
                (Kind::Words, " ["),
                (Kind::Citation, "liu2024"),
                (Kind::Words, "; "),
                (Kind::Citation, "b"),
                (Kind::Words, "]."),
            ]
        );
        for part in parts {
            assert!(text[part.at..].starts_with(part.text));
        }
    }

    #[test]
    fn what_is_not_closed_is_a_fault_with_its_place() {
        let faults = |text| {
            let (_, faults) = parts(text);
            faults.iter().map(|fault| fault.at).collect::<Vec<_>>()
        };
        assert_eq!(faults("a {{b"), [2]);
        assert_eq!(faults("a }} b"), [2]);
        assert_eq!(faults("a `b"), [2]);
        assert_eq!(faults("{{ }}").len(), 1);
        assert_eq!(faults("me @ home"), [3]);
        assert!(faults("``a ` b``").is_empty());
        assert_eq!(place("é\nab", 4), "2:2");
    }
}
