//! What was spent, and the limits that it is held against.

use super::{Store, Who};
use crate::{
    error::Result,
    jobs::{
        Job, Kind,
        limits::{Limits, Others, Spent},
        now,
    },
};
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::{Value, json};

const HOUR: u64 = 3600;
/// The day of the day's limit.
const DAY: u64 = 24 * HOUR;

impl Store {
    /// A sign of life from whoever runs a job: minutes since the last one, and how far it is.
    pub fn beat(
        &self,
        id: &str,
        minutes: f64,
        (study, finished): (Option<&str>, usize),
    ) -> Result<Job> {
        let hour = now() / HOUR;
        let job = self.change(id, |job| {
            job.spent_minutes += minutes;
            job.finished = finished;
            if let Some(study) = study {
                job.study = Some(study.into());
            }
            Ok(None)
        })?;
        self.sql(self.connection.execute(
            "INSERT INTO minutes VALUES (?1, ?2, ?3)
             ON CONFLICT (job, hour) DO UPDATE SET minutes = minutes + excluded.minutes",
            params![id, hour.cast_signed(), minutes],
        ))?;
        Ok(job)
    }

    /// Writes down what the API was paid, and for what.
    pub fn spend(&self, dollars: f64, tokens: u64, what: &str) -> Result<()> {
        let data = json!({ "dollars": dollars, "tokens": tokens });
        self.event((Kind::Spent, None), what, data)
    }

    /// Writes down the limits that are about to be used, where they are not those of the last time;
    /// gives the change in words.
    pub fn note_limits(&self, limits: &Limits) -> Result<Option<String>> {
        self.write(|tx| {
            let last = self.limits_of(tx, "'limits', 'limits_changed', 'limits_approved'")?;
            let (kind, words) = match &last {
                None => (Kind::Limits, "limits as they were first read".to_string()),
                Some(last) => match limits.changes(last) {
                    None => return Ok(None),
                    Some(words) => (Kind::LimitsChanged, format!("limits.toml changed: {words}")),
                },
            };
            let data = json!({ "limits": limits, "before": last });
            self.append(tx, (kind, None, None), &words, data)?;
            Ok(last.is_some().then_some(words))
        })
    }

    /// A person says that the limits are meant as they are.
    pub fn approve_limits(&self, limits: &Limits, who: &Who) -> Result<()> {
        let terminal = if who.terminal {
            ""
        } else {
            ", not at a terminal"
        };
        let words = format!("the limits are approved by {}{terminal}", who.name);
        let data = json!({ "limits": limits });
        self.event((Kind::LimitsApproved, None), &words, data)
    }

    /// The limits that the journal last had, or last had approved: the first ones count as such.
    pub fn known_limits(&self) -> Result<Option<Limits>> {
        self.limits_of(&self.connection, "'limits', 'limits_approved'")
    }

    /// What the last day's studies and API calls, and a campaign's, took, and what those in the
    /// queue are still to take.
    pub fn others(&self, campaign: Option<&str>) -> Result<Others> {
        let still = |job: &Job| match job.state.is_open() {
            true => (job.minutes - job.spent_minutes).max(0.0),
            false => 0.0,
        };
        self.sums(None, campaign, &still)
    }

    /// What they took, without job `own`.
    pub fn spent_by_others(&self, own: &str, campaign: Option<&str>) -> Result<Others> {
        self.sums(Some(own), campaign, &|_| 0.0)
    }

    fn sums(
        &self,
        own: Option<&str>,
        campaign: Option<&str>,
        still: &dyn Fn(&Job) -> f64,
    ) -> Result<Others> {
        let jobs = self.jobs()?;
        let jobs: Vec<&Job> = jobs
            .iter()
            .filter(|job| Some(job.id.as_str()) != own)
            .collect();
        let of_campaign = |name: &str| {
            let jobs = jobs
                .iter()
                .filter(|job| job.campaign.as_deref() == Some(name));
            jobs.fold(Spent::default(), |sum, job| {
                let device_minutes = job.spent_minutes + still(job);
                let api_dollars = job.dollars;
                sum + Spent {
                    device_minutes,
                    api_dollars,
                }
            })
        };
        let day = self.day(own)?;
        let to_come: f64 = jobs.iter().map(|job| still(job)).sum();
        Ok(Others {
            campaign: campaign.map(of_campaign),
            day: Spent {
                device_minutes: day.device_minutes + to_come,
                ..day
            },
        })
    }

    /// What the last 24 hours took, but for a job's own minutes in them.
    pub fn day(&self, but: Option<&str>) -> Result<Spent> {
        let since = now().saturating_sub(DAY);
        let minutes = self.sql(self.connection.query_row(
            "SELECT coalesce(sum(minutes), 0.0) FROM minutes WHERE hour > ?1 AND job IS NOT ?2",
            params![(since / HOUR).cast_signed(), but],
            |row| row.get(0),
        ))?;
        let amounts = || -> rusqlite::Result<Vec<String>> {
            let query = "SELECT data FROM events WHERE kind = 'spent' AND at >= ?1";
            let mut statement = self.connection.prepare(query)?;
            let rows = statement.query_map([since.cast_signed()], |row| row.get(0))?;
            rows.collect()
        };
        let mut dollars = 0.0;
        for text in self.sql(amounts())? {
            let amount: Value = self.json(&text)?;
            dollars += amount["dollars"].as_f64().unwrap_or(0.0);
        }
        Ok(Spent {
            device_minutes: minutes,
            api_dollars: dollars,
        })
    }

    fn limits_of(&self, connection: &Connection, kinds: &str) -> Result<Option<Limits>> {
        let query =
            format!("SELECT data FROM events WHERE kind IN ({kinds}) ORDER BY seq DESC LIMIT 1");
        let text: Option<String> = self.sql(
            connection
                .query_row(&query, [], |row| row.get(0))
                .optional(),
        )?;
        let Some(text) = text else {
            return Ok(None);
        };
        let data: Value = self.json(&text)?;
        Ok(serde_json::from_value(data["limits"].clone()).ok())
    }
}
