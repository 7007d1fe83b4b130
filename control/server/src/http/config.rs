//! Owns the endpoint of the configuration: operators look at it, and replace it as a whole.

use super::guard::{Caller, operator_only};
use super::{Site, body_text, media_type};
use crate::config::Config;
use crate::problem::Problem;
use crate::store::{self, Outcome};
use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::Mutex;
use utoipa::ToSchema;

const TOML: &str = "application/toml";

/// How long control may take to hear that it has another configuration.
const HEARD_MAX: Duration = Duration::from_secs(2);

/// Where another configuration is handed to the supervisor.
#[derive(Debug, Default)]
pub struct Desk {
    run_dir: Option<PathBuf>,
    /// One after the other: what `If-Match` says holds until the other one is taken.
    turn: Mutex<()>,
    /// Makes entity-tags that say nothing of the secrets that they are made of.
    tags: RandomState,
}

/// What a new configuration has changed.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ConfigTaken {
    /// The keys that are other than before.
    #[schema(example = json!(["auth.publish_tokens"]))]
    changed: Vec<String>,
}

impl Desk {
    /// `run_dir`: where the supervisor hears us, if there is one.
    #[must_use]
    pub fn new(run_dir: Option<PathBuf>) -> Self {
        Self {
            run_dir,
            ..Self::default()
        }
    }

    fn tag(&self, config: &Config) -> String {
        // Everything in it, secrets too.
        let text = toml::to_string(config).unwrap_or_default();
        format!("\"{:016x}\"", self.tags.hash_one(text))
    }
}

/// The configuration as it holds now: from file, environment and command line, with secrets
/// redacted. For operators.
#[utoipa::path(
    get, path = "/v1/config", tag = "node",
    responses(
        (status = 200, description = "As TOML, or as JSON where Accept asks for that; ETag is for \
            If-Match", body = String, content_type = "application/toml"),
        (status = 401, description = "For operators", body = Problem),
    )
)]
pub(super) async fn look(
    State(site): State<Site>,
    remote: Caller,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    operator_only(&site, &headers, remote)?;
    let config = site.config();
    let table = config.redacted();
    let accept = headers.get(header::ACCEPT).and_then(|it| it.to_str().ok());
    let mut response = match accept.is_some_and(|it| it.contains("application/json")) {
        true => Json(table).into_response(),
        false => {
            let text = toml::to_string(&table).map_err(|error| not_written(&error.to_string()))?;
            ([(header::CONTENT_TYPE, TOML)], text).into_response()
        }
    };
    tag(&site, &mut response)?;
    Ok(response)
}

/// Replaces the file that the server was started with, as a whole or not at all, and takes it as
/// SIGHUP does. What environment and command line say still wins over it. For operators.
#[utoipa::path(
    put, path = "/v1/config", tag = "node",
    params(("If-Match" = Option<String>, Header,
            description = "The ETag of the configuration that it is to replace")),
    request_body(content = String, content_type = "application/toml",
                 description = "The whole file, with its secrets"),
    responses(
        (status = 200, description = "It holds", body = ConfigTaken),
        (status = 401, description = "For operators", body = Problem),
        (status = 409, description = "Some keys want a restart: see keys. Or the server was \
            started without a file", body = Problem),
        (status = 412, description = "Another one than If-Match says holds", body = Problem),
        (status = 413, description = "Too long", body = Problem),
        (status = 415, description = "Not application/toml", body = Problem),
        (status = 422, description = "There is a mistake: see line and keys", body = Problem),
        (status = 500, description = "The file cannot be written", body = Problem),
        (status = 503, description = "The supervisor does not answer", body = Problem),
    )
)]
pub(super) async fn replace(
    State(site): State<Site>,
    remote: Caller,
    request: Request,
) -> Result<Response, Problem> {
    operator_only(&site, request.headers(), remote)?;
    if media_type(&request, header::CONTENT_TYPE).as_deref() != Some(TOML) {
        return Err(not_toml());
    }
    let if_match = request.headers().get(header::IF_MATCH).cloned();
    let text = body_text(&site, request).await?;
    let _turn = site.desk.turn.lock().await;
    let tag_now = site.desk.tag(&site.config());
    if if_match.is_some_and(|it| it.as_bytes() != b"*" && it.as_bytes() != tag_now.as_bytes()) {
        return Err(changed_meanwhile());
    }
    let run_dir = site.desk.run_dir.as_ref().ok_or_else(no_file)?;
    let mut config = site.config.clone();
    config.mark_unchanged();
    let asked = store::ask(run_dir, &text).await;
    let changed = taken(asked.map_err(|error| unheard(&error))?)?;
    if !changed.is_empty() {
        // The sign of the supervisor is on its way. Without it the new one still holds soon: it is
        // what the next life of control begins with.
        let _ = tokio::time::timeout(HEARD_MAX, config.changed()).await;
    }
    let mut response = (StatusCode::OK, Json(ConfigTaken { changed })).into_response();
    tag(&site, &mut response)?;
    Ok(response)
}

fn tag(site: &Site, response: &mut Response) -> Result<(), Problem> {
    let tag = super::signalling::header_value(&site.desk.tag(&site.config()))?;
    let headers = response.headers_mut();
    headers.insert(header::ETAG, tag);
    let no_store = header::HeaderValue::from_static("no-store");
    headers.insert(header::CACHE_CONTROL, no_store);
    Ok(())
}

fn taken(outcome: Outcome) -> Result<Vec<String>, Problem> {
    Err(match outcome {
        Outcome::Taken { changed } => return Ok(changed),
        Outcome::Wrong {
            line,
            key,
            what,
            remedy,
        } => Problem::new(
            422,
            "config-wrong",
            "There is a mistake in the configuration",
            format!("{what}; nothing was changed"),
            remedy,
        )
        .at(line, key.into_iter().collect()),
        Outcome::WantsRestart { keys } => Problem::new(
            409,
            "restart-needed",
            "The configuration wants a restart",
            format!(
                "{} cannot change while the server runs; nothing was changed",
                keys.join(", ")
            ),
            "leave these keys as they are, or write the file by hand and restart the server",
        )
        .at(None, keys),
        Outcome::NoFile => no_file(),
        Outcome::NotWritten { error } => not_written(&error),
    })
}

fn not_toml() -> Problem {
    Problem::new(
        415,
        "not-toml",
        "The body is of another type",
        "this path takes application/toml",
        "send the whole file with Content-Type: application/toml",
    )
}

fn changed_meanwhile() -> Problem {
    Problem::new(
        412,
        "config-changed",
        "The configuration has changed meanwhile",
        "another one holds than If-Match says, or the control process was started again",
        "look at it again, and send yours with its new ETag",
    )
}

fn no_file() -> Problem {
    Problem::new(
        409,
        "no-config-file",
        "There is no file to replace",
        "the server was started without a configuration file, or control without `freshet serve`",
        "start `freshet serve --config FILE`; an empty file is as good as none",
    )
}

fn not_written(error: &str) -> Problem {
    Problem::new(
        500,
        "not-written",
        "The configuration cannot be written",
        format!("{error}; nothing was changed"),
        "see that the server may write the file and its folder (ReadWritePaths of systemd)",
    )
}

fn unheard(error: &io::Error) -> Problem {
    Problem::unavailable(format!("the supervisor does not answer: {error}"))
}
