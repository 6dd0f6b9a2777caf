//! What talking to Claude costs: tokens counted by kind, prices, and the settings in `claude.toml`.
//!
//! Prices change and are not ours: the table says where and when it was read, and a `[prices]` table
//! in `claude.toml` goes before it. A model that neither knows has no price; its tokens are counted
//! all the same, and whoever sets a limit in dollars is asked for prices.

use crate::{
    error::{Error, Result},
    toml_file::Source,
};
use serde::{Deserialize, Serialize};
use std::{ops::AddAssign, path::Path};

/// `claude.toml` in the home.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClaudeSettings {
    pub model: String,
    /// How long the model may think: low, medium, high. Not written: the model's own default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effort: Option<Effort>,
    /// Of one answer, thinking included.
    pub max_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prices: Option<Prices>,
}

/// How long a model may think.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effort {
    Low,
    Medium,
    High,
    Xhigh,
    Max,
}

/// In dollars per million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    pub input: f64,
    pub output: f64,
    /// Of input that is kept for five minutes.
    pub cache_write: f64,
    pub cache_read: f64,
}

/// Tokens of one answer, or of many, as the server counts them. Every input token is in one of three.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    #[serde(rename = "input_tokens")]
    pub input: u64,
    #[serde(rename = "output_tokens")]
    pub output: u64,
    #[serde(rename = "cache_creation_input_tokens")]
    pub cache_write: u64,
    #[serde(rename = "cache_read_input_tokens")]
    pub cache_read: u64,
}

/// Dollars per million tokens, for five-minute caches.
///
/// Read on 26 November 2026 from the models' pages, platform.claude.com/docs/…/models/…/overview, and
/// from platform.claude.com/docs/en/about-claude/pricing.
const PRICES: [(&str, Prices); 6] = [
    ("claude-fable-5-1", Prices::new(10.0, 50.0, 12.5, 0.25)),
    ("claude-opus-5-5", Prices::new(4.0, 20.0, 5.0, 0.2)),
    ("claude-opus-5", Prices::new(5.0, 25.0, 6.25, 0.5)),
    ("claude-sonnet-5-5", Prices::new(2.0, 10.0, 2.5, 0.2)),
    ("claude-sonnet-5", Prices::new(2.0, 10.0, 2.5, 0.2)),
    ("claude-haiku-4-5", Prices::new(1.0, 5.0, 1.25, 0.1)),
];

/// The settings' file, in the home.
pub const FILE: &str = "claude.toml";

impl Default for ClaudeSettings {
    fn default() -> Self {
        Self {
            model: "claude-opus-5-5".into(),
            effort: None,
            max_tokens: 16_000,
            prices: None,
        }
    }
}

impl ClaudeSettings {
    /// What `claude.toml` in the home says, or the defaults. Errors with the line of what can't be.
    pub fn load(home: &Path) -> Result<Self> {
        let path = home.join(FILE);
        if !path.exists() {
            return Ok(Self::default());
        }
        let source = Source::read(&path)?;
        let settings: Self = source.parse()?;
        settings.check(&source)?;
        Ok(settings)
    }

    fn check(&self, source: &Source) -> Result<()> {
        let wrong = |key: &[&str], problem: String, remedy: &str| {
            Err(Error::input(source.place_of(key), problem, remedy))
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:@/".contains(c);
        if self.model.is_empty() || !self.model.chars().all(plain) {
            let problem = format!("model is {:?}", self.model);
            return wrong(&["model"], problem, "use a model's id, as claude-opus-5-5");
        }
        if !(FEWEST_TOKENS..=MOST_TOKENS).contains(&self.max_tokens) {
            let problem = format!("max_tokens is {}", self.max_tokens);
            let remedy = format!("use {FEWEST_TOKENS} to {MOST_TOKENS}; 16000 is the default");
            return wrong(&["max_tokens"], problem, &remedy);
        }
        for (key, price) in self.prices.iter().flat_map(Prices::by_name) {
            if !(price >= 0.0 && price.is_finite()) {
                let remedy = "use dollars per million tokens, 0 or more";
                return wrong(&["prices", key], format!("{key} is {price}"), remedy);
            }
        }
        Ok(())
    }

    /// What its model costs: as written, or else by the table. A dated name has its model's price.
    pub fn prices(&self) -> Option<Prices> {
        let known = PRICES.iter().find(|(name, _)| {
            let rest = self.model.strip_prefix(name);
            rest.is_some_and(|rest| {
                let date = rest.strip_prefix('-');
                rest.is_empty()
                    || date.is_some_and(|d| d.len() == 8 && d.bytes().all(|b| b.is_ascii_digit()))
            })
        });
        self.prices.or(known.map(|(_, prices)| *prices))
    }

    /// The same, where dollars are limited. Errors with what to write.
    pub fn demand_prices(&self, home: &Path) -> Result<Prices> {
        self.prices().ok_or_else(|| {
            Error::input(
                home.join(FILE).display().to_string(),
                format!("no price is known for model \"{}\"", self.model),
                "write its dollars per million tokens there: [prices] input, output, cache_write, \
                 cache_read; without them no dollar could be counted",
            )
        })
    }
}

/// Fewer leave no room for a study, more than any model writes.
pub const FEWEST_TOKENS: u64 = 2_048;
const MOST_TOKENS: u64 = 128_000;
/// Text of English, TOML and JSON has more bytes per token than this: an upper bound on tokens.
const FEWEST_BYTES_PER_TOKEN: u64 = 2;
/// And about so many, for what came of an answer that was cut.
const BYTES_PER_TOKEN: u64 = 4;

impl Prices {
    const fn new(input: f64, output: f64, cache_write: f64, cache_read: f64) -> Self {
        Self {
            input,
            output,
            cache_write,
            cache_read,
        }
    }

    fn by_name(&self) -> [(&'static str, f64); 4] {
        [
            ("input", self.input),
            ("output", self.output),
            ("cache_write", self.cache_write),
            ("cache_read", self.cache_read),
        ]
    }

    /// Dollars for these tokens.
    pub fn dollars(&self, usage: &Usage) -> f64 {
        let parts = [
            (usage.input, self.input),
            (usage.output, self.output),
            (usage.cache_write, self.cache_write),
            (usage.cache_read, self.cache_read),
        ];
        parts
            .iter()
            .map(|(n, price)| *n as f64 * price)
            .sum::<f64>()
            / 1e6
    }

    /// Dollars that a request of so many bytes may cost at most, if its answer is as long as allowed.
    pub fn most(&self, request_bytes: usize, max_tokens: u64) -> f64 {
        self.most_input(request_bytes) + max_tokens as f64 * self.output / 1e6
    }

    /// Tokens that may be answered so that a request of so many bytes costs no more than `dollars`.
    pub fn affordable(&self, request_bytes: usize, dollars: f64) -> u64 {
        let left = 1e6 * (dollars - self.most_input(request_bytes));
        match self.output > 0.0 {
            true => (left / self.output).max(0.0) as u64,
            false if left >= 0.0 => u64::MAX,
            false => 0,
        }
    }

    fn most_input(&self, request_bytes: usize) -> f64 {
        let tokens = (request_bytes as u64).div_ceil(FEWEST_BYTES_PER_TOKEN);
        tokens as f64 * self.input.max(self.cache_write) / 1e6
    }
}

impl Usage {
    pub fn total(&self) -> u64 {
        self.input + self.output + self.cache_write + self.cache_read
    }

    /// With at least as many tokens of output as so many bytes of text are: for an answer that was
    /// cut before its count came, but is charged.
    pub fn with_received(mut self, bytes: usize) -> Self {
        self.output = self.output.max((bytes as u64).div_ceil(BYTES_PER_TOKEN));
        self
    }
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.input += other.input;
        self.output += other.output;
        self.cache_write += other.cache_write;
        self.cache_read += other.cache_read;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(text: &str) -> Result<ClaudeSettings> {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join(FILE), text).unwrap();
        ClaudeSettings::load(home.path())
    }

    #[test]
    fn every_kind_of_token_has_its_own_price() {
        let usage = Usage {
            input: 1_000_000,
            output: 100_000,
            cache_write: 200_000,
            cache_read: 4_000_000,
        };
        // 4 + 2 + 1 + 0.8
        let prices = ClaudeSettings::default().prices().unwrap();
        assert!((prices.dollars(&usage) - 7.8).abs() < 1e-12);
        assert_eq!(usage.total(), 5_300_000);
    }

    #[test]
    fn a_dated_model_has_its_price_and_an_unknown_one_asks_for_it() {
        let priced = |model: &str| {
            let model = model.to_string();
            let settings = ClaudeSettings {
                model,
                ..Default::default()
            };
            settings.prices().map(|p| p.input)
        };
        assert_eq!(priced("claude-opus-5"), Some(5.0));
        assert_eq!(priced("claude-opus-5-20260724"), Some(5.0));
        assert_eq!(priced("claude-opus-5-5"), Some(4.0));
        assert_eq!(priced("claude-opus-5-7"), None);
        let settings = with("model = \"mine\"").unwrap();
        let error = settings.demand_prices(Path::new("home")).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("claude.toml"), "{error}");
        let written = with(
            "model = \"mine\"\n[prices]\ninput = 1\noutput = 2\ncache_write = 3\ncache_read = 4",
        );
        assert_eq!(written.unwrap().prices().unwrap().output, 2.0);
    }

    #[test]
    fn settings_that_cannot_be_are_refused_with_their_line() {
        for (text, what) in [
            ("modle = \"x\"", "modle"),
            ("model = \"a b\"", "model"),
            ("max_tokens = 12", "max_tokens"),
            ("effort = \"huge\"", "effort"),
            (
                "[prices]\ninput = -1\noutput = 2\ncache_write = 3\ncache_read = 4",
                "input",
            ),
        ] {
            let error = with(text).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{text}");
            assert!(error.to_string().contains(what), "{text}: {error}");
            assert!(error.place.contains("claude.toml"), "{text}: {error}");
        }
    }

    #[test]
    fn what_is_affordable_never_costs_more_than_there_is() {
        let prices = ClaudeSettings::default().prices().unwrap();
        for dollars in [0.01, 0.1, 1.0] {
            for bytes in [0, 1000, 3999] {
                let tokens = prices.affordable(bytes, dollars);
                assert!(prices.most(bytes, tokens) <= dollars + 1e-12);
                assert!(prices.most(bytes, tokens + 2) > dollars);
            }
        }
        assert_eq!(prices.affordable(1_000_000, 0.01), 0);
    }
}
