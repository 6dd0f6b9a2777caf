//! What was asked and answered, kept beside the study that came of it, and paid for at once.
//!
//! Each proposal has a folder `proposals/NNNN/` in the home: `001.request.json` is written before a
//! request is sent, `001.response.json` when something came of it, and the study's text, what the
//! gates said and the finding lie beside them. A request without a response is one whose process was
//! killed: [`settle`] counts it at the most that it may have cost, for nobody can know.

use super::{
    messages::{Attempt, Witness},
    money::{FEWEST_TOKENS, Prices, Usage},
};
use crate::{
    error::{Error, Kind, Result},
    files,
    jobs::{self, Store, limits::Limits},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

/// Money for the API: what may be spent, and what was.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Purse {
    /// None: whatever the limits of the home allow.
    pub limit: Option<f64>,
    pub spent: f64,
    pub usage: Usage,
    /// Requests sent.
    pub requests: usize,
    /// Without them tokens are counted and dollars are not.
    pub prices: Option<Prices>,
}

impl Purse {
    pub fn new(limit: Option<f64>, prices: Option<Prices>) -> Self {
        Self {
            limit,
            prices,
            ..Self::default()
        }
    }

    /// Dollars that are left of the limit.
    pub fn left(&self) -> Option<f64> {
        self.limit.map(|limit| (limit - self.spent).max(0.0))
    }

    /// "$0.0123 for 4,100 tokens in 3 requests".
    pub fn in_words(&self) -> String {
        let tokens = self.usage.total();
        let requests = match self.requests {
            1 => "1 request".to_string(),
            n => format!("{n} requests"),
        };
        match self.prices {
            Some(_) => format!("${:.4} for {tokens} tokens in {requests}", self.spent),
            None => format!("{tokens} tokens in {requests}, at a price that is not known"),
        }
    }
}

/// A proposal's folder, held by this process.
#[derive(Debug)]
pub struct Folder {
    home: PathBuf,
    path: PathBuf,
    /// Its number, "0007".
    pub name: String,
    /// Let go of by the system however this process ends.
    _lock: File,
}

const REQUEST: &str = ".request.json";
const RESPONSE: &str = ".response.json";

/// A request as it is kept.
#[derive(Serialize, Deserialize)]
struct Sent {
    schema: String,
    /// Seconds since 1970.
    at: u64,
    /// What it was for: "propose", "finding".
    purpose: String,
    /// Dollars that it may cost at most; none where no price is known.
    #[serde(default)]
    most_dollars: Option<f64>,
    body: Value,
}

/// What came of it.
#[derive(Serialize, Deserialize)]
struct Came {
    schema: String,
    at: u64,
    #[serde(default)]
    dollars: Option<f64>,
    attempt: Attempt,
}

/// Where the folders of all proposals are.
pub fn folders(home: &Path) -> PathBuf {
    home.join("proposals")
}

impl Folder {
    /// The next folder of a home, taken so that no two processes have the same.
    pub fn new(home: &Path) -> Result<Self> {
        let all = folders(home);
        fs::create_dir_all(&all).map_err(|e| Error::io(&all, "create the folder", &e))?;
        let last = numbers(&all).last().copied().unwrap_or(0);
        for number in last + 1.. {
            let name = format!("{number:04}");
            let path = all.join(&name);
            match fs::create_dir(&path) {
                Ok(()) => {
                    let lock = lock_file(&path)?;
                    lock.lock().map_err(|e| Error::io(&path, "lock", &e))?;
                    return Ok(Self::held(home, name, lock));
                }
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(Error::io(&path, "create the folder", &e)),
            }
        }
        unreachable!("numbers do not end")
    }

    /// A folder that is there, to go on with; none where another process does.
    pub fn take_up(home: &Path, name: &str) -> Result<Option<Self>> {
        let lock = lock_file(&folders(home).join(name))?;
        let free = lock.try_lock().is_ok();
        Ok(free.then(|| Self::held(home, name.into(), lock)))
    }

    fn held(home: &Path, name: String, lock: File) -> Self {
        Self {
            home: home.into(),
            path: folders(home).join(&name),
            name,
            _lock: lock,
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file beside the exchanges.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.path.join(name);
        files::replace(&path, text.as_bytes())?;
        Ok(path)
    }

    /// The next exchange of this folder, paid from `purse`.
    pub fn exchange<'a>(&'a self, purpose: &'static str, purse: &'a mut Purse) -> Exchange<'a> {
        Exchange {
            folder: self,
            purse,
            purpose,
            stem: String::new(),
        }
    }
}

fn lock_file(folder: &Path) -> Result<File> {
    let at = folder.join("lock");
    File::create(&at).map_err(|e| Error::io(&at, "create", &e))
}

/// Numbers of the folders that there are, in order.
fn numbers(all: &Path) -> Vec<u64> {
    let entries = fs::read_dir(all).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut numbers: Vec<u64> = names.filter_map(|name| name.parse().ok()).collect();
    numbers.sort_unstable();
    numbers
}

/// Stems of the requests in a folder, in order: "001", "002".
fn requests(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut stems: Vec<String> = names
        .filter_map(|name| Some(name.strip_suffix(REQUEST)?.to_string()))
        .collect();
    stems.sort();
    stems
}

/// Requests on their way, kept and paid.
pub struct Exchange<'a> {
    folder: &'a Folder,
    purse: &'a mut Purse,
    purpose: &'static str,
    /// Of the request that is on its way.
    stem: String,
}

impl Witness for Exchange<'_> {
    /// As many tokens as what is left can pay for, of the purse and of the home's limits for a day.
    fn allowed(&self, request_bytes: usize, wanted: u64) -> Result<u64> {
        let Some(prices) = self.purse.prices else {
            return Ok(wanted);
        };
        let today = dollars_left_today(&self.folder.home)?;
        let (left, of) = match self.purse.left() {
            Some(left) if left <= today => (left, "the dollars that may be spent"),
            _ => (today, "day.dollars in limits.toml"),
        };
        let tokens = prices.affordable(request_bytes, left).min(wanted);
        if tokens >= FEWEST_TOKENS.min(wanted) {
            return Ok(tokens);
        }
        Err(Error::new(
            Kind::Refused,
            of,
            format!(
                "${left:.4} is left, and the next request may cost ${:.4}",
                prices.most(request_bytes, FEWEST_TOKENS)
            ),
            "allow more dollars; nothing was sent",
        ))
    }

    fn before(&mut self, body: &Value) -> Result<()> {
        let next = requests(&self.folder.path).len() + 1;
        self.stem = format!("{next:03}");
        let most_dollars = self.purse.prices.map(|prices| {
            let max_tokens = body["max_tokens"].as_u64().unwrap_or(0);
            prices.most(body.to_string().len(), max_tokens)
        });
        self.purse.requests += 1;
        let sent = Sent {
            schema: "windtunnel.request.v1".into(),
            at: jobs::now(),
            purpose: self.purpose.into(),
            most_dollars,
            body: body.clone(),
        };
        let path = self.folder.path.join(format!("{}{REQUEST}", self.stem));
        files::write_json(&path, &sent)
    }

    fn after(&mut self, attempt: &Attempt) -> Result<()> {
        let usage = attempt.usage.unwrap_or_default();
        let dollars = self.purse.prices.map(|prices| prices.dollars(&usage));
        self.purse.usage += usage;
        self.purse.spent += dollars.unwrap_or(0.0);
        let what = label(&self.folder.name, &self.stem);
        charge(&self.folder.home, dollars, usage, &what)?;
        let path = self.folder.path.join(format!("{}{RESPONSE}", self.stem));
        let came = Came {
            schema: "windtunnel.response.v1".into(),
            at: jobs::now(),
            dollars,
            attempt: attempt.clone(),
        };
        files::write_json(&path, &came)
    }
}

/// Dollars that the home's limits leave for the next 24 hours; the device's time counts into them.
pub fn dollars_left_today(home: &Path) -> Result<f64> {
    let limits = Limits::read(home)?;
    let spent = Store::existing(home)?
        .map(|store| store.day(None))
        .transpose()?;
    Ok((limits.day.dollars - limits.dollars(spent.unwrap_or_default())).max(0.0))
}

/// What the journal calls a request.
fn label(folder: &str, stem: &str) -> String {
    format!("proposals/{folder}/{stem}")
}

fn charge(home: &Path, dollars: Option<f64>, usage: Usage, what: &str) -> Result<()> {
    if usage.total() == 0 && dollars.unwrap_or(0.0) == 0.0 {
        return Ok(());
    }
    Store::open(home)?.spend(dollars.unwrap_or(0.0), usage.total(), what)
}

/// Counts what was sent by processes that were killed before they knew what came of it, at the most
/// that it may have cost. Gives the dollars.
pub fn settle(home: &Path) -> Result<f64> {
    let all = folders(home);
    let mut dollars = 0.0;
    for number in numbers(&all) {
        let name = format!("{number:04}");
        let path = all.join(&name);
        // Whoever holds the folder is alive, and going to write what came.
        let lock = File::open(path.join("lock"));
        if lock.is_ok_and(|lock| lock.try_lock().is_err()) {
            continue;
        }
        for stem in requests(&path) {
            dollars += settle_one(home, (&path, &name), &stem)?;
        }
    }
    Ok(dollars)
}

fn settle_one(home: &Path, (path, name): (&Path, &str), stem: &str) -> Result<f64> {
    let response = path.join(format!("{stem}{RESPONSE}"));
    if response.exists() {
        return Ok(0.0);
    }
    let label = label(name, stem);
    let remedy = "delete this file, and count what it may have cost yourself";
    let sent: Sent = files::read_json(&path.join(format!("{stem}{REQUEST}")), remedy)?;
    let most = sent.most_dollars.unwrap_or(0.0);
    let usage = Usage {
        output: sent.body["max_tokens"].as_u64().unwrap_or(0),
        ..Usage::default()
    };
    // It may have been paid already, and killed before its response was kept.
    if !is_paid(home, &label)? {
        charge(home, sent.most_dollars, usage, &label)?;
    }
    let attempt = Attempt {
        usage: Some(usage),
        estimated: true,
        problem: Some("the process ended before an answer was written down".into()),
        ..Attempt::default()
    };
    let came = Came {
        schema: "windtunnel.response.v1".into(),
        at: jobs::now(),
        dollars: sent.most_dollars,
        attempt,
    };
    files::write_json(&response, &came)?;
    Ok(most)
}

fn is_paid(home: &Path, label: &str) -> Result<bool> {
    let Some(store) = Store::existing(home)? else {
        return Ok(false);
    };
    let events = store.events(0, None)?;
    let paid = |event: &jobs::Event| event.kind == jobs::Kind::Spent && event.words == label;
    Ok(events.iter().any(paid))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn prices() -> Option<Prices> {
        Some(Prices {
            input: 1.0,
            output: 10.0,
            cache_write: 1.0,
            cache_read: 0.1,
        })
    }

    fn attempt(input: u64, output: u64) -> Attempt {
        let usage = Usage {
            input,
            output,
            ..Usage::default()
        };
        Attempt {
            status: Some(200),
            usage: Some(usage),
            ..Attempt::default()
        }
    }

    #[test]
    fn dollars_are_the_sum_over_all_answers_whatever_came_of_them() {
        let home = tempfile::tempdir().unwrap();
        let mut purse = Purse::new(Some(1.0), prices());
        let folder = Folder::new(home.path()).unwrap();
        for (input, output) in [(1000, 100), (2000, 0), (0, 50)] {
            let mut exchange = folder.exchange("propose", &mut purse);
            exchange.before(&json!({ "max_tokens": 4096 })).unwrap();
            exchange.after(&attempt(input, output)).unwrap();
        }
        assert!((purse.spent - 0.0045).abs() < 1e-12, "{}", purse.spent);
        assert_eq!((purse.usage.total(), purse.requests), (3150, 3));
        assert_eq!(requests(folder.path()), ["001", "002", "003"]);
        let today = dollars_left_today(home.path()).unwrap();
        let limit = Limits::default().day.dollars;
        assert!((limit - today - 0.0045).abs() < 1e-9, "{today}");
    }

    #[test]
    fn a_request_whose_process_was_killed_is_counted_at_its_most_and_once() {
        let home = tempfile::tempdir().unwrap();
        let mut purse = Purse::new(Some(1.0), prices());
        let folder = Folder::new(home.path()).unwrap();
        let body = json!({ "max_tokens": 50_000 });
        folder
            .exchange("propose", &mut purse)
            .before(&body)
            .unwrap();
        assert_eq!(settle(home.path()).unwrap(), 0.0, "its process is alive");
        drop(folder);
        let most = settle(home.path()).unwrap();
        assert!(most > 0.5 && most < 0.51, "{most}");
        assert_eq!(settle(home.path()).unwrap(), 0.0);
        assert_eq!(Folder::new(home.path()).unwrap().name, "0002");
    }

    #[test]
    fn a_request_that_could_cost_more_than_is_left_is_not_sent() {
        let home = tempfile::tempdir().unwrap();
        let folder = Folder::new(home.path()).unwrap();
        let allowed = |dollars: f64, bytes: usize| {
            let mut purse = Purse::new(Some(dollars), prices());
            folder.exchange("propose", &mut purse).allowed(bytes, 8000)
        };
        assert_eq!(allowed(1.0, 1000).unwrap(), 8000);
        assert_eq!(
            allowed(0.05, 0).unwrap(),
            5000,
            "a shorter answer is paid for"
        );
        let error = allowed(0.02, 1000).unwrap_err();
        assert_eq!(error.exit_code(), 3);
        // The day's limit counts where the purse has more.
        assert!(allowed(1e9, 0).is_ok());
        fs::write(home.path().join("limits.toml"), "[day]\ndollars = 0.01\n").unwrap();
        let error = allowed(1e9, 0).unwrap_err();
        assert!(error.place.contains("limits.toml"), "{error}");
    }
}
