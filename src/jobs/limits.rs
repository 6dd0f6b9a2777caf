//! `limits.toml` in the home: what studies that are submitted may take without a person's approval.

use crate::{
    error::{Error, Result},
    toml_file::Source,
};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The file with its defaults, which are written down here and nowhere else.
pub const TEMPLATE: &str = r#"# What a submitted study may take before a person is asked (`windtunnel approve ID`).
# A key that is left out keeps the value shown here.

# One study: its device time as planned, and what the API was paid for proposing it.
[proposal]
device_minutes = 60.0
dollars = 5.0

# All studies of one campaign, together.
[campaign]
device_minutes = 600.0
dollars = 50.0

# All studies and API calls of the last 24 hours, together.
[day]
device_minutes = 480.0
dollars = 20.0

# What an hour of the device costs: it counts into the dollars above.
[device]
dollars_per_hour = 0.0
"#;

/// Limits, whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    pub proposal: Budget,
    pub campaign: Budget,
    pub day: Budget,
    pub device: Price,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    pub device_minutes: f64,
    pub dollars: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    pub dollars_per_hour: f64,
}

/// Time on the device, and money paid to the API.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Spent {
    pub device_minutes: f64,
    pub api_dollars: f64,
}

impl std::ops::Add for Spent {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            device_minutes: self.device_minutes + other.device_minutes,
            api_dollars: self.api_dollars + other.api_dollars,
        }
    }
}

/// What was spent already, beside a study, in the wholes that it belongs to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Others {
    /// Of its campaign, where it has one.
    pub campaign: Option<Spent>,
    pub day: Spent,
}

/// A limit that would be exceeded.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Excess {
    /// Its key in limits.toml.
    pub key: String,
    pub limit: f64,
    pub would_be: f64,
}

impl Excess {
    pub fn in_words(&self) -> String {
        format!(
            "{} would be {:.4}, the limit is {:.4} ({:.4} over)",
            self.key,
            self.would_be,
            self.limit,
            self.would_be - self.limit
        )
    }
}

/// As a file has it: what is left out is the template's.
#[derive(Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Written {
    proposal: WrittenBudget,
    campaign: WrittenBudget,
    day: WrittenBudget,
    device: WrittenPrice,
}

#[derive(Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct WrittenBudget {
    #[serde(skip_serializing_if = "Option::is_none")]
    device_minutes: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dollars: Option<f64>,
}

#[derive(Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct WrittenPrice {
    #[serde(skip_serializing_if = "Option::is_none")]
    dollars_per_hour: Option<f64>,
}

impl Default for Limits {
    fn default() -> Self {
        toml::from_str(TEMPLATE).expect("the template is whole; a test reads it")
    }
}

impl Limits {
    pub fn path(home: &Path) -> PathBuf {
        home.join("limits.toml")
    }

    /// The limits of a home. Errors when its file is wrong, with the line.
    pub fn read(home: &Path) -> Result<Self> {
        let path = Self::path(home);
        if !path.exists() {
            return Ok(Self::default());
        }
        let source = Source::read(&path)?;
        let written: Written = source.parse()?;
        let base = Self::default();
        let budget = |written: &WrittenBudget, base: Budget| Budget {
            device_minutes: written.device_minutes.unwrap_or(base.device_minutes),
            dollars: written.dollars.unwrap_or(base.dollars),
        };
        let price = written.device.dollars_per_hour;
        let limits = Self {
            proposal: budget(&written.proposal, base.proposal),
            campaign: budget(&written.campaign, base.campaign),
            day: budget(&written.day, base.day),
            device: Price {
                dollars_per_hour: price.unwrap_or(base.device.dollars_per_hour),
            },
        };
        for (key, value) in limits.values() {
            if !(value >= 0.0 && value.is_finite()) {
                let parts: Vec<&str> = key.split('.').collect();
                return Err(Error::input(
                    source.place_of(&parts),
                    format!("{key} is {value}: out of range"),
                    "use a number, 0 or more",
                ));
            }
        }
        Ok(limits)
    }

    /// Every key with its value.
    pub fn values(&self) -> [(&'static str, f64); 7] {
        [
            ("proposal.device_minutes", self.proposal.device_minutes),
            ("proposal.dollars", self.proposal.dollars),
            ("campaign.device_minutes", self.campaign.device_minutes),
            ("campaign.dollars", self.campaign.dollars),
            ("day.device_minutes", self.day.device_minutes),
            ("day.dollars", self.day.dollars),
            ("device.dollars_per_hour", self.device.dollars_per_hour),
        ]
    }

    /// What changed from `before`, in words; none where nothing did.
    pub fn changes(&self, before: &Self) -> Option<String> {
        let pairs = before.values().into_iter().zip(self.values());
        let changed = pairs.filter(|(old, new)| old != new);
        let words = changed.map(|((key, old), (_, new))| format!("{key}: {old} → {new}"));
        let words: Vec<String> = words.collect();
        (!words.is_empty()).then(|| words.join("; "))
    }

    /// Dollars in all: the device's time has its price.
    pub fn dollars(&self, spent: Spent) -> f64 {
        spent.api_dollars + spent.device_minutes / 60.0 * self.device.dollars_per_hour
    }

    /// The limits that a study which takes `own` in all would exceed.
    pub fn exceeded(&self, own: Spent, others: &Others) -> Vec<Excess> {
        let campaign = others.campaign.map(|spent| spent + own);
        // What the API was paid for it is among the day's already.
        let day = Spent {
            device_minutes: others.day.device_minutes + own.device_minutes,
            ..others.day
        };
        let wholes = [
            ("proposal", self.proposal, Some(own)),
            ("campaign", self.campaign, campaign),
            ("day", self.day, Some(day)),
        ];
        let wholes = wholes
            .into_iter()
            .filter_map(|(name, budget, spent)| Some((name, budget, spent?)));
        let rows = wholes.flat_map(|(name, budget, spent)| {
            [
                (
                    format!("{name}.device_minutes"),
                    budget.device_minutes,
                    spent.device_minutes,
                ),
                (
                    format!("{name}.dollars"),
                    budget.dollars,
                    self.dollars(spent),
                ),
            ]
        });
        let over = rows.filter(|(_, limit, would_be)| would_be > limit);
        over.map(|(key, limit, would_be)| Excess {
            key,
            limit,
            would_be,
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spent(device_minutes: f64, api_dollars: f64) -> Spent {
        Spent {
            device_minutes,
            api_dollars,
        }
    }

    #[test]
    fn a_key_that_is_left_out_keeps_its_default_and_a_misspelt_one_is_an_error() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(Limits::read(home.path()).unwrap(), Limits::default());
        let write = |text: &str| std::fs::write(Limits::path(home.path()), text).unwrap();
        write("[day]\ndollars = 3.0\n");
        let limits = Limits::read(home.path()).unwrap();
        assert_eq!(limits.day.dollars, 3.0);
        assert_eq!(limits.proposal, Limits::default().proposal);
        write("[day]\ndolars = 3.0\n");
        let error = Limits::read(home.path()).unwrap_err();
        assert!(error.remedy.contains("\"dollars\""), "{error}");
        write("\n[day]\ndollars = -3.0\n");
        let error = Limits::read(home.path()).unwrap_err();
        assert!(error.place.ends_with("limits.toml:3"), "{error}");
    }

    #[test]
    fn each_whole_has_its_own_limit_and_the_devices_time_its_price() {
        let mut limits = Limits::default();
        let none = Others::default();
        assert!(limits.exceeded(spent(59.0, 4.0), &none).is_empty());
        let over = limits.exceeded(spent(61.0, 0.0), &none);
        assert_eq!(over.len(), 1);
        assert!(over[0].in_words().contains("proposal.device_minutes"));
        let others = Others {
            campaign: Some(spent(595.0, 0.0)),
            day: spent(475.0, 19.0),
        };
        let keys = |own| -> Vec<String> {
            let over = limits.exceeded(own, &others);
            over.into_iter().map(|excess| excess.key).collect()
        };
        assert_eq!(
            keys(spent(6.0, 2.0)),
            ["campaign.device_minutes", "day.device_minutes"]
        );
        limits.device.dollars_per_hour = 60.0;
        let over = limits.exceeded(spent(6.0, 0.0), &none);
        assert_eq!(over[0].key, "proposal.dollars");
        assert_eq!(over[0].would_be, 6.0);
    }
}
