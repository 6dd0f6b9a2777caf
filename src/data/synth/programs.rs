//! Small programs in a part of Python, each with its output.
//!
//! A program is put together from idioms that share their variables, as a tree; its text is the
//! tree's, and its output is what our own interpreter prints. Python agrees: a test asks it. What
//! would not end, fail, or print much is drawn again.

mod draft;
mod idioms;
mod interpreter;
mod syntax;
mod values;

use crate::rng::Rng;
use draft::Draft;

/// What stands between a program and its output.
pub(super) const OUTPUT: &str = "Output:\n";

/// Most lines that a program prints, and most characters in one.
const LINES: usize = 8;
const LINE: usize = 60;

/// Writes one program after another.
pub(super) struct Author {
    draft: Draft,
}

impl Author {
    pub fn new(rng: Rng) -> Self {
        Self {
            draft: Draft::new(rng),
        }
    }

    /// A program and what it prints.
    pub fn document(&mut self) -> String {
        loop {
            let program = self.draft.program();
            let Ok(output) = interpreter::run(&program) else {
                continue;
            };
            let lines = output.lines().count();
            if (1..=LINES).contains(&lines) && output.lines().all(is_readable) {
                let source = syntax::source(&program);
                return format!("{source}{OUTPUT}{}", output.trim_end());
            }
        }
    }
}

fn is_readable(line: &str) -> bool {
    (1..=LINE).contains(&line.len()) && line.trim() == line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_drafts_are_drawn_again() {
        let mut draft = Draft::new(Rng::named(1, "drafts"));
        let drafts = (0..2000).map(|_| draft.program());
        let runs = drafts
            .filter(|program| interpreter::run(program).is_ok())
            .count();
        assert!(runs > 1000, "{runs} of 2000 run");
    }
}
