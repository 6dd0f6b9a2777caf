//! The loop: a brief, a proposal that passes the gates, its run, its verdict, a finding, the next.
//!
//! It stops on hours and dollars, on a person, when what is proposed is not expected to teach enough
//! for its minutes, and after a number of studies, whichever comes first. Whatever stops it, what was
//! done is kept and reported. It can do nothing that `windtunnel submit` could not: the gates are
//! those of [`jobs`], and behind them the supervisor runs the study, not this process.

mod landing;
mod report;
mod round;

pub use landing::{Landed, Landing};

use super::{
    baselines::Space,
    brief::{self, Brief},
    exchange::{self, Folder, Purse},
    messages::{Client, Wait},
    propose::Asking,
    proposed::{self, Fate, Gate, Proposed},
};
use crate::{
    error::{Error, Kind, Result},
    jobs::Settings,
};
use std::{
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

/// What an autopilot may do.
#[derive(Debug, Clone, PartialEq)]
pub struct Terms {
    /// On the clock on the wall.
    pub hours: f64,
    /// For the API.
    pub dollars: f64,
    /// What a person wants to know.
    pub about: Option<String>,
    /// Where studies stand, seen from the project's folder: a campaign's folder, or ".".
    pub folder: PathBuf,
    /// Studies that get a verdict, at most.
    pub studies: Option<usize>,
    /// How often an answer that a gate refused may be mended.
    pub mends: usize,
    /// Expected bits per device-minute under which a study is not worth its time.
    pub floor: f64,
    /// Go on where a proposal waits for a person.
    pub skip_waiting: bool,
}

/// An autopilot and what it needs.
pub struct Flight<'a> {
    pub settings: &'a Settings,
    pub client: &'a Client,
    pub terms: &'a Terms,
    /// What an optimiser would choose from; its best points are told.
    pub space: Option<&'a Space>,
    pub stop: &'a AtomicBool,
    /// Hears what happens, in words.
    pub say: &'a dyn Fn(&str),
}

/// One bit in about 17 hours of the device.
pub const FLOOR: f64 = 0.001;
/// How often an answer is sent back.
pub const MENDS: usize = 2;
/// Rounds one after another without a study that ran: the model is not going to find one.
const FRUITLESS: usize = 5;
/// How often the store is asked how a study is doing: at first, and later.
const GLANCE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// How long a cancelled study may take to save and end.
const SAVING: Duration = Duration::from_secs(120);

/// What an autopilot knows while it flies.
struct Aloft<'a> {
    flight: &'a Flight<'a>,
    begun: Instant,
    purse: Purse,
    rounds: Vec<Proposed>,
}

/// Flies until something stops it. Errors when it can't begin: a price that is not known, a store
/// or a brief that can't be read.
pub fn fly(flight: &Flight) -> Result<Landed> {
    let home = &flight.settings.home;
    let prices = flight.client.settings.demand_prices(home)?;
    let settled = exchange::settle(home)?;
    if settled > 0.0 {
        (flight.say)(&format!(
            "an earlier process ended in the middle of a request: ${settled:.4} counted for it"
        ));
    }
    let mut state = Aloft {
        flight,
        begun: Instant::now(),
        purse: Purse::new(Some(flight.terms.dollars), Some(prices)),
        rounds: Vec::new(),
    };
    let landing = match state.fly() {
        Ok(landing) => (landing, None),
        Err(error) => Landing::of(error),
    };
    landing::land(&state, landing)
}

impl Aloft<'_> {
    fn minutes_left(&self) -> f64 {
        60.0 * self.flight.terms.hours - self.begun.elapsed().as_secs_f64() / 60.0
    }

    fn say(&self, words: &str) {
        (self.flight.say)(words);
    }

    fn fly(&mut self) -> Result<Landing> {
        self.take_up()?;
        loop {
            if let Some(landing) = self.round()? {
                return Ok(landing);
            }
        }
    }

    /// Studies that an earlier flight handed in and did not live to say what came of.
    fn take_up(&mut self) -> Result<()> {
        let home = &self.flight.settings.home;
        for mut proposed in proposed::all(home) {
            if proposed.fate != Fate::Submitted {
                continue;
            }
            if let Some(folder) = Folder::take_up(home, &proposed.proposal)? {
                self.say(&format!("proposal {}: taken up again", folder.name));
                let result = round::take_up(self, &folder, &mut proposed);
                proposed.keep(folder.path())?;
                self.rounds.push(proposed);
                result?;
            }
        }
        Ok(())
    }

    /// What stops it between two rounds.
    fn stopped(&self) -> Option<Landing> {
        let judged = self
            .rounds
            .iter()
            .filter(|r| r.fate == Fate::Judged)
            .count();
        let ran = |r: &Proposed| matches!(r.fate, Fate::Judged | Fate::Unfinished);
        let fruitless = self.rounds.iter().rev().take_while(|r| !ran(r)).count();
        if self.flight.stop.load(Ordering::Relaxed) {
            return Some(Landing::Interrupted { job: None });
        }
        if self.minutes_left() <= 0.0 {
            return Some(Landing::Hours);
        }
        if self.flight.terms.studies.is_some_and(|most| judged >= most) {
            return Some(Landing::Studies);
        }
        (fruitless >= FRUITLESS).then_some(Landing::Fruitless { rounds: fruitless })
    }

    /// One round, and whether it was the last.
    fn round(&mut self) -> Result<Option<Landing>> {
        if let Some(landing) = self.stopped() {
            return Ok(Some(landing));
        }
        let brief = self.brief()?;
        let folder = Folder::new(&self.flight.settings.home)?;
        self.say(&format!(
            "proposal {}: asking {} ({:.1} minutes and ${:.4} left)",
            folder.name,
            self.flight.client.settings.model,
            self.minutes_left(),
            self.purse.left().unwrap_or(0.0)
        ));
        let (proposed, error) = round::fly(self, &folder, &brief);
        proposed.keep(folder.path())?;
        let landing = self.after(&proposed);
        self.rounds.push(proposed);
        match error {
            Some(error) => Err(error),
            None => Ok(landing),
        }
    }

    /// Whether what became of a proposal is for a person, or says that there is no use in going on.
    fn after(&self, proposed: &Proposed) -> Option<Landing> {
        let last = proposed.objections.last();
        match proposed.fate {
            Fate::Waiting if !self.flight.terms.skip_waiting => Some(Landing::Person {
                job: proposed.job.clone().unwrap_or_default(),
            }),
            Fate::Refused if last.is_some_and(|o| o.gate == Gate::Worth) => Some(Landing::Worth {
                floor: self.flight.terms.floor,
            }),
            _ => None,
        }
    }

    fn brief(&self) -> Result<Brief> {
        let settings = self.flight.settings;
        let about = self.flight.terms.about.as_deref();
        let mut brief = brief::gather(&settings.home, &settings.root, about, self.flight.space)?;
        brief.left = vec![
            format!("{:.1} minutes on the clock", self.minutes_left()),
            format!("${:.4} for the API", self.purse.left().unwrap_or(0.0)),
            format!(
                "a study has to be expected to teach {} bits per device-minute or more",
                self.flight.terms.floor
            ),
        ];
        brief.left.extend(brief::limits_left(&settings.home)?);
        Ok(brief)
    }
}

impl Flight<'_> {
    fn asking<'b>(&'b self, wait: &'b Wait<'b>) -> Asking<'b> {
        Asking {
            settings: self.settings,
            client: self.client,
            folder: self.terms.folder.clone(),
            name: None,
            mends: self.terms.mends,
            wait,
            say: self.say,
        }
    }
}

/// A pause that Ctrl-C ends. Errors (interrupted) when it did.
pub fn pause(stop: &AtomicBool, time: Duration) -> Result<()> {
    let until = Instant::now() + time;
    loop {
        if stop.load(Ordering::Relaxed) {
            return Err(Error::new(
                Kind::Interrupted,
                "waiting",
                "interrupted",
                "run the same command again; nothing that was done is lost",
            ));
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(Duration::from_millis(50)));
    }
}
