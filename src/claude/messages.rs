//! The Messages API: one request, answered in the form of a schema, however often it has to be sent.
//!
//! Answers are streamed, so that a long one does not run into a time limit and of a cut one it is
//! known what it cost. Every attempt is told to a [`Witness`] before and after, at once: a killed
//! process loses no dollar. The key goes into one header and nowhere else.

mod request;
mod retry;
mod secret;
mod stream;

pub use request::{Request, Turn};
pub use retry::{Patience, Wait};
pub use secret::{HIDDEN, Secret, VARIABLE};

use super::money::{ClaudeSettings, Usage};
use crate::error::{Error, Kind, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{io::Read, time::Duration};
use stream::Received;

/// Where the API is, unless the environment says otherwise.
const ADDRESS: &str = "https://api.anthropic.com";
/// The environment variable that says otherwise.
pub const BASE_URL: &str = "ANTHROPIC_BASE_URL";
const VERSION: &str = "2023-06-01";
/// A server that can't be reached, or is silent, for so long is given up. A stream has pings.
const CONNECTING: Duration = Duration::from_secs(30);
const SILENCE: Duration = Duration::from_secs(300);
/// Of an error's page.
const MOST_ERROR_BYTES: u64 = 1 << 16;

/// Who hears of every attempt.
pub trait Witness {
    /// Tokens that an answer may have, of those `wanted`, after a request of so many bytes. Errors when
    /// too little is left to spend; then nothing is sent.
    fn allowed(&self, request_bytes: usize, wanted: u64) -> Result<u64>;
    /// A request about to be sent.
    fn before(&mut self, body: &Value) -> Result<()>;
    /// What came of it.
    fn after(&mut self, attempt: &Attempt) -> Result<()>;
}

/// One sending of a request, and what came of it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Attempt {
    /// The server's status; `None` when it could not be reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// What the server calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop: Option<Stop>,
    pub text: String,
    /// Tokens that are charged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// Whether these tokens are reckoned from bytes, because the answer was cut before their count.
    pub estimated: bool,
    /// What was wrong, and whether it may pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// Why an answer ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    EndTurn,
    MaxTokens,
    Refusal,
    Other(String),
}

impl Stop {
    fn of(reason: &str) -> Self {
        match reason {
            "end_turn" | "stop_sequence" => Self::EndTurn,
            "max_tokens" => Self::MaxTokens,
            "refusal" => Self::Refusal,
            other => Self::Other(other.into()),
        }
    }
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub text: String,
    pub stop: Stop,
}

/// A way to the API.
pub struct Client {
    agent: ureq::Agent,
    address: String,
    secret: Secret,
    pub settings: ClaudeSettings,
    pub patience: Patience,
}

impl Client {
    /// By the environment's key and address. Errors (status 2) when there is no key.
    pub fn from_environment(settings: ClaudeSettings) -> Result<Self> {
        let secret = Secret::from_environment().ok_or_else(no_key)?;
        let given = std::env::var(BASE_URL).ok();
        let address = given.filter(|address| !address.trim().is_empty());
        Ok(Self::new(
            address.as_deref().unwrap_or(ADDRESS),
            secret,
            settings,
        ))
    }

    pub fn new(address: &str, secret: Secret, settings: ClaudeSettings) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            // A key is not carried to wherever an answer points.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(CONNECTING))
            .timeout_recv_response(Some(2 * SILENCE))
            .timeout_per_read(Some(SILENCE))
            .user_agent(concat!("windtunnel/", env!("CARGO_PKG_VERSION")))
            .build();
        Self {
            agent: config.into(),
            address: address.trim().trim_end_matches('/').into(),
            secret,
            settings,
            patience: Patience::default(),
        }
    }

    /// A text without the key: for words of a person's that are going to be written down.
    pub fn redacted(&self, text: &str) -> String {
        self.secret.redacted(text)
    }

    /// The answer to a request, sent again where that may help: after a passing status with the
    /// server's delay, and after a cut answer. Errors when it stays so, or can't be mended by waiting.
    pub fn send(
        &self,
        request: &Request,
        witness: &mut dyn Witness,
        wait: &Wait,
    ) -> Result<Answer> {
        let wanted = self.settings.max_tokens;
        for tries in 1.. {
            let body = request.body(&self.settings, wanted, &self.secret);
            let allowed = witness.allowed(body.to_string().len(), wanted)?;
            let body = request.body(&self.settings, allowed, &self.secret);
            witness.before(&body)?;
            let tried = self.attempt(&body);
            witness.after(&tried.attempt)?;
            let failure = match tried.failure {
                None => return self.whole(tried.attempt),
                Some(failure) => failure,
            };
            let pause = match failure.passing {
                true => self.patience.wait(tries, failure.retry_after),
                false => None,
            };
            match pause {
                Some(pause) => wait(pause)?,
                None => return Err(self.failed(tries, failure)),
            }
        }
        unreachable!("tries are limited")
    }

    fn whole(&self, attempt: Attempt) -> Result<Answer> {
        let stop = attempt.stop.expect("a whole answer says why it ended");
        Ok(Answer {
            text: attempt.text,
            stop,
        })
    }

    /// Sends a body once.
    fn attempt(&self, body: &Value) -> Tried {
        let sent = self
            .agent
            .post(format!("{}/v1/messages", self.address))
            .header("x-api-key", self.secret.expose())
            .header("anthropic-version", VERSION)
            .header("content-type", "application/json")
            .send(body.to_string());
        let mut response = match sent {
            Ok(response) => response,
            Err(e) => return self.unanswered(&e),
        };
        let header = |name: &str| {
            let value = response.headers().get(name)?.to_str().ok()?;
            Some(self.secret.redacted(value))
        };
        let status = response.status().as_u16();
        let retry_after = header("retry-after").and_then(|text| retry::seconds(&text));
        let attempt = Attempt {
            status: Some(status),
            request_id: header("request-id"),
            ..Attempt::default()
        };
        let reader = response.body_mut().as_reader();
        match status {
            200 => self.answered(attempt, stream::receive(reader), body),
            _ => self.turned_away((attempt, status), reader, retry_after),
        }
    }

    /// No answer came.
    fn unanswered(&self, error: &ureq::Error) -> Tried {
        let said = self.secret.redacted(&error.to_string());
        let passing = !matches!(
            error,
            ureq::Error::BadUri(_) | ureq::Error::Http(_) | ureq::Error::InvalidProxyUrl
        );
        Tried::failed(
            Attempt::default(),
            Failure {
                passing,
                problem: format!("cannot be reached: {said}"),
                ..Failure::default()
            },
        )
    }

    /// A status other than 200.
    fn turned_away(
        &self,
        (attempt, status): (Attempt, u16),
        reader: impl Read,
        retry_after: Option<Duration>,
    ) -> Tried {
        let mut bytes = Vec::new();
        let _ = reader.take(MOST_ERROR_BYTES).read_to_end(&mut bytes);
        let text = String::from_utf8_lossy(&bytes);
        let said = match serde_json::from_str::<Value>(&text) {
            Ok(object) => {
                let (kind, message) = stream::error_of(&object);
                format!("{kind}: {message}")
            }
            Err(_) => text.chars().take(200).collect(),
        };
        let said = self.secret.redacted(said.trim());
        Tried::failed(
            attempt,
            Failure {
                status: Some(status),
                passing: retry::is_passing(status),
                retry_after,
                problem: format!("answers with status {status} ({said})"),
            },
        )
    }

    /// Status 200, and whatever came after.
    fn answered(&self, mut attempt: Attempt, received: Received, body: &Value) -> Tried {
        attempt.text = self.secret.redacted(&received.text);
        attempt.stop = received.stop;
        attempt.usage = received.usage;
        if received.whole && received.usage.is_some() {
            return Tried {
                attempt,
                failure: None,
            };
        }
        // What was begun is charged: what is not known of it is reckoned by its bytes.
        attempt.estimated = true;
        let asked = Usage::default()
            .with_received(body.to_string().len())
            .output;
        let known = received.usage.unwrap_or(Usage {
            input: asked,
            ..Usage::default()
        });
        attempt.usage = Some(known.with_received(received.bytes));
        if received.whole {
            return Tried {
                attempt,
                failure: None,
            };
        }
        let (passing, problem) = match (&received.error, &received.cut) {
            (Some((kind, message)), _) => {
                let said = self.secret.redacted(&format!("{kind}: {message}"));
                let problem = format!("broke off its answer ({said})");
                (retry::is_passing_type(kind), problem)
            }
            (None, why) => {
                let why = why.as_deref().unwrap_or("it is not whole");
                (true, format!("sent no whole answer: {why}"))
            }
        };
        Tried::failed(
            attempt,
            Failure {
                status: Some(200),
                passing,
                problem: self.secret.redacted(&problem),
                retry_after: None,
            },
        )
    }

    fn failed(&self, tries: u32, failure: Failure) -> Error {
        let place = format!("{}/v1/messages", without_user(&self.address));
        let place = self.secret.redacted(&place);
        let times = match tries {
            1 => String::new(),
            n => format!(", after {n} tries"),
        };
        let remedy = match (failure.status, failure.retry_after) {
            (Some(429), Some(after)) => format!(
                "the server asks to wait {} s; run the same command again then",
                after.as_secs()
            ),
            (Some(401 | 403), _) => format!("check the key in {VARIABLE}"),
            (Some(404), _) => format!(
                "check model = \"{}\" in claude.toml, and {BASE_URL} if it is set",
                self.settings.model
            ),
            (Some(413), _) => "ask in fewer words".into(),
            (Some(status), _) if !retry::is_passing(status) && status != 200 => format!(
                "check claude.toml (model \"{}\", effort) and {BASE_URL}; the exchange is kept",
                self.settings.model
            ),
            (None, _) => format!("check the network, and {BASE_URL} if it is set"),
            _ => "run the same command again later; nothing that was done is lost".into(),
        };
        let kind = match failure.passing {
            true => Kind::Failed,
            false => Kind::Input,
        };
        Error::new(kind, place, failure.problem + &times, remedy)
    }
}

/// A sending and whether it failed.
struct Tried {
    attempt: Attempt,
    failure: Option<Failure>,
}

#[derive(Default)]
struct Failure {
    status: Option<u16>,
    /// Whether it may pass.
    passing: bool,
    retry_after: Option<Duration>,
    problem: String,
}

impl Tried {
    fn failed(mut attempt: Attempt, failure: Failure) -> Self {
        attempt.problem = Some(failure.problem.clone());
        Self {
            attempt,
            failure: Some(failure),
        }
    }
}

/// An address without the name and password that it may hold.
fn without_user(address: &str) -> String {
    match address.split_once("://") {
        Some((scheme, rest)) => match rest.rsplit_once('@') {
            Some((_, host)) => format!("{scheme}://{host}"),
            None => address.into(),
        },
        None => address.into(),
    }
}

/// What to say where the key is missing: how the same is done without one.
pub fn no_key() -> Error {
    Error::input(
        VARIABLE,
        "is not set, and the Messages API answers to no one without a key",
        "set it; or let Claude Code do the same with no key here: `windtunnel init --claude`, then \
         `claude`, and ask it to design an ablation",
    )
}

#[cfg(test)]
mod tests;
