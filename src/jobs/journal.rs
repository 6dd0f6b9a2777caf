//! The journal: what happened, in order. Every entry holds the digest of the one before it, so that one
//! that is edited, left out or put in later does not fit its neighbours.

use super::{Job, State};
use crate::digest::sha256_json;
use serde::{Deserialize, Serialize};

/// What sort of thing happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A job is in another state, or new.
    State,
    /// Something that a person may want to look at.
    Alert,
    /// What only this program writes was changed by somebody else.
    Tampering,
    /// The limits when they were first read.
    Limits,
    /// They are other limits since.
    LimitsChanged,
    /// A person says that they are meant.
    LimitsApproved,
    /// The API was paid.
    Spent,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Alert => "alert",
            Self::Tampering => "tampering",
            Self::Limits => "limits",
            Self::LimitsChanged => "limits_changed",
            Self::LimitsApproved => "limits_approved",
            Self::Spent => "spent",
        }
    }
}

/// Something that happened, as it is shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// From 1, without gaps.
    pub seq: u64,
    /// Seconds since 1970.
    pub at: u64,
    pub job: Option<String>,
    pub kind: Kind,
    /// That the job is in since.
    pub state: Option<State>,
    pub words: String,
}

impl Event {
    /// Whether whoever watches is told.
    pub fn is_watched(&self) -> bool {
        let unwatched = [Kind::Limits, Kind::LimitsApproved, Kind::Spent];
        !unwatched.contains(&self.kind)
    }

    /// For people.
    pub fn line(&self) -> String {
        let job = self.job.as_deref().unwrap_or("-");
        let state = self.state.map_or(self.kind.name(), State::name);
        format!("{:>4}  {job}  {state:<9} {}", self.seq, self.words)
    }
}

/// An event in its chain.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub event: Event,
    /// The job after it, limits, or an amount.
    pub data: serde_json::Value,
    /// Digest of the entry before.
    pub before: String,
    pub digest: String,
}

/// The digest before the first entry.
pub const BEGINNING: &str = "";

impl Entry {
    pub fn new(event: Event, data: serde_json::Value, before: &str) -> Self {
        let digest = sha256_json(&(&event, &data, before));
        Self {
            event,
            data,
            before: before.into(),
            digest,
        }
    }

    /// The job as it was after this.
    pub fn job(&self) -> Option<Job> {
        serde_json::from_value(self.data.get("job")?.clone()).ok()
    }
}

/// What is wrong with a chain, in words; nothing where it is whole.
pub fn broken(entries: &[Entry]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut before = BEGINNING;
    for (idx, entry) in entries.iter().enumerate() {
        let seq = entry.event.seq;
        if seq != idx as u64 + 1 {
            wrong.push(format!(
                "event {seq} stands where event {} should be: some were taken out or put in",
                idx + 1
            ));
            return wrong;
        }
        let own = Entry::new(entry.event.clone(), entry.data.clone(), &entry.before);
        if own.digest != entry.digest {
            wrong.push(format!(
                "event {seq} was edited: it has digest {}, it was written with {}",
                short(&own.digest),
                short(&entry.digest)
            ));
        }
        if entry.before != before {
            wrong.push(format!(
                "event {seq} follows digest {}, the event before it has {}",
                short(&entry.before),
                short(before)
            ));
        }
        before = &entry.digest;
    }
    wrong
}

fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn chain(n: u64) -> Vec<Entry> {
        let mut entries: Vec<Entry> = Vec::new();
        for seq in 1..=n {
            let event = Event {
                seq,
                at: 10 * seq,
                job: None,
                kind: Kind::Alert,
                state: None,
                words: format!("event {seq}"),
            };
            let before = entries.last().map_or(BEGINNING, |last| &last.digest);
            let entry = Entry::new(event, json!({ "n": seq }), before);
            entries.push(entry);
        }
        entries
    }

    #[test]
    fn an_entry_that_is_edited_taken_out_or_put_in_breaks_the_chain() {
        assert!(broken(&chain(4)).is_empty());
        let mut edited = chain(4);
        edited[1].event.words = "nothing happened".into();
        assert!(broken(&edited)[0].starts_with("event 2 was edited"));
        // Whoever also makes its digest again is given away by the next one.
        let mut redone = chain(4);
        redone[1] = Entry::new(edited[1].event.clone(), Value::Null, &redone[1].before);
        assert!(broken(&redone)[0].starts_with("event 3 follows"));
        let mut fewer = chain(4);
        fewer.remove(2);
        assert_eq!(broken(&fewer).len(), 1);
        let mut reordered = chain(4);
        reordered.swap(1, 2);
        assert_eq!(broken(&reordered).len(), 1);
    }
}
