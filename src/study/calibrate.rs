//! How often verdicts are right, measured: simulated outcomes through the very [`judge`] that a study's
//! outcomes go through, thousands of studies in seconds.
//!
//! What theory promises for Gaussian differences is a gate: a line that is off by more than three
//! standard errors fails. What real differences may be instead (heavy tails, skew, spreads that
//! change from seed to seed) is reported, for nobody can promise it.
//!
//! [`judge`]: super::verdict::judge

mod simulated;
mod tables;

use serde::Serialize;
use std::fmt::Write;

/// The tables, and whether all that must hold does.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Calibration {
    pub seed: u64,
    /// Simulated studies behind each line, unless it says otherwise.
    pub studies: usize,
    pub tables: Vec<Table>,
}

/// Lines under one heading.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Table {
    pub title: String,
    pub rows: Vec<Row>,
}

/// One measured number.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    pub what: String,
    pub found: f64,
    pub unit: Unit,
    /// Standard error of `found`.
    pub error: f64,
    pub gate: Gate,
    /// `None` where nothing is promised.
    pub holds: Option<bool>,
    /// What else there is to say.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub note: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// A share of studies, 0 to 1.
    Share,
    /// Paired seeds per study.
    Seeds,
}

/// What a number must be, up to three standard errors.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    Reported,
    Near(f64),
    AtMost(f64),
    AtLeast(f64),
    /// Off from `promised` by at most `by`.
    Kept {
        promised: f64,
        by: f64,
    },
}

impl Gate {
    fn holds(self, found: f64, error: f64) -> Option<bool> {
        let band = 3.0 * error;
        match self {
            Self::Reported => None,
            Self::Near(target) => Some((found - target).abs() <= band),
            Self::AtMost(most) => Some(found <= most + band),
            Self::AtLeast(least) => Some(found >= least - band),
            Self::Kept { promised, by } => Some((found - promised).abs() <= by),
        }
    }
}

impl Row {
    /// A share of `studies`; its error is that of the share that is promised, where one is.
    fn share(what: impl Into<String>, hits: usize, studies: usize, gate: Gate) -> Self {
        let found = hits as f64 / studies as f64;
        let p = match gate {
            Gate::Near(p) | Gate::AtMost(p) | Gate::AtLeast(p) => p,
            Gate::Reported | Gate::Kept { .. } => found,
        };
        let error = (p * (1.0 - p) / studies as f64).sqrt();
        Self::new(what, (found, Unit::Share), error, gate)
    }

    fn new(what: impl Into<String>, (found, unit): (f64, Unit), error: f64, gate: Gate) -> Self {
        Self {
            what: what.into(),
            found,
            unit,
            error,
            gate,
            holds: gate.holds(found, error),
            note: String::new(),
        }
    }

    fn noted(self, note: impl Into<String>) -> Self {
        Self {
            note: note.into(),
            ..self
        }
    }
}

/// All tables; the same for the same seed and number of studies, whatever the threads.
pub fn calibrate(seed: u64, studies: usize) -> Calibration {
    Calibration {
        seed,
        studies,
        tables: tables::all(seed, studies),
    }
}

impl Calibration {
    /// "TITLE: LINE" of each line that fails.
    pub fn wrong(&self) -> Vec<String> {
        let rows = self
            .tables
            .iter()
            .flat_map(|table| table.rows.iter().map(move |row| (table, row)));
        rows.filter(|(_, row)| row.holds == Some(false))
            .map(|(table, row)| format!("{}: {}", table.title, row.in_words()))
            .collect()
    }

    pub fn in_words(&self) -> String {
        let mut text = format!(
            "{} simulated studies a line, seed {}; ± is one standard error, gates allow three\n",
            self.studies, self.seed
        );
        for table in &self.tables {
            let _ = write!(text, "\n{}\n", table.title);
            for row in &table.rows {
                let _ = writeln!(text, "  {}", row.in_words());
            }
        }
        text
    }
}

impl Row {
    fn in_words(&self) -> String {
        let number = |x: f64| match self.unit {
            Unit::Share => format!("{:.2}%", 100.0 * x),
            Unit::Seeds => format!("{x:.2}"),
        };
        let gate = match self.gate {
            Gate::Reported => String::new(),
            Gate::Near(target) => format!("  must be {}", number(target)),
            Gate::AtMost(most) => format!("  at most {}", number(most)),
            Gate::AtLeast(least) => format!("  at least {}", number(least)),
            Gate::Kept { promised, by } => {
                format!("  promised {} within {}", number(promised), number(by))
            }
        };
        let holds = match self.holds {
            None => "",
            Some(true) => ": holds",
            Some(false) => ": FAILS",
        };
        let note = match self.note.is_empty() {
            true => String::new(),
            false => format!("  ({})", self.note),
        };
        format!(
            "{:<58} {:>7} ± {:<5}{gate}{holds}{note}",
            self.what,
            number(self.found),
            number(self.error)
        )
    }
}
