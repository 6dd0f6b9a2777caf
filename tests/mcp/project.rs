//! A project in a folder of its own, and clients that talk to its server.

use crate::bench::RECIPE;
use rmcp::{
    ClientHandler, ClientLifecycleMode, ClientServiceExt, RoleClient,
    model::{
        CallToolRequestParams, CallToolResult, ClientCapabilities, ClientConfig, Implementation,
        ProgressNotificationParam, ProtocolVersion,
    },
    service::{NotificationContext, RunningService},
    transport::TokioChildProcess,
};
use serde_json::{Value, json};
use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Command, Output, Stdio},
    sync::{Arc, Mutex},
};
use tempfile::TempDir;

pub struct Project {
    folder: TempDir,
}

impl Project {
    pub fn new() -> Self {
        let folder = TempDir::new().unwrap();
        fs::create_dir_all(folder.path().join("configs/recipes")).unwrap();
        let recipe = format!("# A very small model.{RECIPE}");
        fs::write(folder.path().join("configs/recipes/small.toml"), recipe).unwrap();
        Self { folder }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_windtunnel"));
        command
            .args(args)
            .args(["--home", "home", "--device", "cpu", "--threads", "1"])
            .current_dir(self.folder.path());
        command
    }

    /// A command that must succeed.
    pub fn run(&self, args: &[&str]) -> Output {
        let output = self.command(args).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {stderr}");
        output
    }

    /// A client that has shaken hands, or does without.
    pub async fn client(&self, revision: ProtocolVersion) -> Client {
        let server = tokio::process::Command::from(self.command(&["mcp"]));
        let transport = TokioChildProcess::new(server).unwrap();
        let pid = transport.id().unwrap();
        let told = Told::default();
        let lifecycle = match revision == ProtocolVersion::V_2026_07_28 {
            true => ClientLifecycleMode::Discover {
                preferred_versions: vec![revision],
            },
            false => ClientLifecycleMode::Initialize,
        };
        let service = told.clone().serve_with_lifecycle(transport, lifecycle);
        Client {
            service: service.await.unwrap(),
            told,
            pid,
        }
    }

    /// A client of the revision that Claude Code speaks.
    pub async fn usual_client(&self) -> Client {
        self.client(ProtocolVersion::V_2025_11_25).await
    }
}

/// A study of one arm with another learning rate, as an agent writes it.
pub fn spec(name: &str, lr: f64) -> Value {
    json!({
        "name": name,
        "base": "configs/recipes/small.toml",
        "hypothesis": {
            "claim": "The rate matters.",
            "prediction": { "direction": "worse", "effect": 0.5, "confidence": 0.8 },
        },
        "decision": { "margin": 0.1, "seeds": 3 },
        "arms": {
            "plain": { "control": true },
            "slow": { "factor": "optimizer.lr", "set": { "optimizer.lr": lr } },
        },
    })
}

/// What the server told without being asked.
#[derive(Clone, Default)]
pub struct Told {
    pub progress: Arc<Mutex<Vec<ProgressNotificationParam>>>,
}

impl ClientHandler for Told {
    async fn on_progress(
        &self,
        progress: ProgressNotificationParam,
        _: NotificationContext<RoleClient>,
    ) {
        self.progress.lock().unwrap().push(progress);
    }

    fn get_info(&self) -> ClientConfig {
        let own = Implementation::new("test-client", "1");
        ClientConfig::new(ClientCapabilities::default(), own)
            .with_protocol_version(ProtocolVersion::V_2025_11_25)
    }
}

pub struct Client {
    pub service: RunningService<RoleClient, Told>,
    pub told: Told,
    pub pid: u32,
}

impl Client {
    pub async fn raw(&self, tool: &'static str, arguments: Value) -> CallToolResult {
        let Value::Object(arguments) = arguments else {
            panic!("arguments are an object");
        };
        let request = CallToolRequestParams::new(tool).with_arguments(arguments);
        let result = self.service.call_tool(request).await.unwrap();
        assert!(result.structured_content.is_none(), "{tool}");
        let text: usize = texts(&result).map(str::len).sum();
        assert!(text <= 24_000, "{tool} answered with {text} bytes");
        result
    }

    /// The JSON that a tool answers with; it must not refuse.
    pub async fn call(&self, tool: &'static str, arguments: Value) -> Value {
        let result = self.raw(tool, arguments).await;
        let text = texts(&result).collect::<String>();
        assert_ne!(result.is_error, Some(true), "{tool}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    /// What a tool says that must refuse: place, problem, remedy, next.
    pub async fn refused(&self, tool: &'static str, arguments: Value) -> Value {
        let result = self.raw(tool, arguments).await;
        let text = texts(&result).collect::<String>();
        assert_eq!(result.is_error, Some(true), "{tool}: {text}");
        let value: Value = serde_json::from_str(&text).unwrap();
        for key in ["place", "problem", "remedy", "next"] {
            assert!(
                value[key].as_str().is_some_and(|words| !words.is_empty()),
                "{text}"
            );
        }
        value
    }

    /// Waits until nothing more happens to a job.
    pub async fn finished(&self, job: &str) -> Value {
        for _ in 0..20 {
            let status = self
                .call("study_wait", json!({ "job_id": job, "timeout_s": 30 }))
                .await;
            if !["queued", "running"].contains(&status["state"].as_str().unwrap()) {
                return status;
            }
        }
        panic!("{job} never ended");
    }
}

pub fn texts(result: &CallToolResult) -> impl Iterator<Item = &str> {
    let texts = result
        .content
        .iter()
        .filter_map(|content| content.as_text());
    texts.map(|text| text.text.as_str())
}

/// A line for every answer; panics on anything else.
pub fn answers(project: &Project, lines: &[&str]) -> Vec<Value> {
    let mut server = project.command(&["mcp"]);
    server
        .env("RUST_LOG", "trace")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut server = server.spawn().unwrap();
    let mut stdin = server.stdin.take().unwrap();
    for line in lines {
        writeln!(stdin, "{line}").unwrap();
    }
    let expected = lines.iter().filter(|line| line.contains("\"id\"")).count();
    let stdout = BufReader::new(server.stdout.take().unwrap());
    let mut answers = Vec::new();
    for line in stdout.lines() {
        let value: Value = serde_json::from_str(&line.unwrap()).expect("a line of JSON");
        assert_eq!(value["jsonrpc"], "2.0", "{value}");
        answers.push(value);
        if answers.iter().filter(|a| !a["id"].is_null()).count() == expected {
            break;
        }
    }
    drop(stdin);
    assert!(server.wait().unwrap().success());
    answers
}
