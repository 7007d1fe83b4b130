//! Owns the answers to what HTTP asks.

use super::Driver;
use super::push::push_view;
use crate::clock;
use crate::control::{Page, Patch, Reply, Request, SessionPage, SessionView, StreamName};
use crate::problem::Problem;
use session::{Cause, PatchBody, SessionId, SignalError};

impl Driver {
    pub(super) fn answer(&mut self, request: Request) {
        match request {
            Request::WhepPost {
                stream,
                who,
                offer,
                reply,
            } => {
                let answer = self.whep_post(who, &stream, &offer);
                give(reply, answer);
            }
            Request::WhipPost {
                stream,
                offer,
                reply,
            } => {
                let answer = self.whip_post(&stream, &offer);
                give(reply, answer);
            }
            Request::Relay(request) => self.relay(request),
            Request::Push(post, reply) => give(reply, self.push_post(&post)),
            Request::Patch {
                id,
                if_match,
                patch,
                reply,
            } => {
                let body = match &patch {
                    Patch::Fragment(fragment) => PatchBody::TrickleIce(fragment),
                    Patch::Answer(answer) => PatchBody::Answer(answer),
                };
                let patched = self
                    .sessions
                    .patch(clock::now(), &id, if_match.as_deref(), body);
                give(reply, patched.map_err(|e| problem(&e)));
            }
            Request::Delete { id, reply } => {
                give(
                    reply,
                    self.sessions
                        .delete(clock::now(), &id)
                        .map_err(|e| problem(&e)),
                );
            }
            Request::OpenEvents(id, kinds, reply) => give(reply, self.open_events(&id, kinds)),
            Request::ReadEvents(id, number, reply) => give(reply, self.read_events(&id, number)),
            Request::CloseEvents(id, number, reply) => give(reply, self.close_events(&id, number)),
            Request::ChooseLayer(id, wish, reply) => give(reply, self.choose_layer(&id, &wish)),
            Request::Streams(reply) => give(reply, Ok(self.stream_views())),
            Request::Stream(name, reply) => {
                let view = self
                    .stream_views()
                    .into_iter()
                    .find(|view| view.name == name.as_str());
                give(reply, view.ok_or_else(|| unknown_stream(&name)));
            }
            Request::Sessions(page, reply) => give(reply, Ok(self.session_page(&page))),
            Request::Session(id, reply) => {
                let view = self.session_or_push(&id);
                give(reply, view.ok_or_else(unknown_session));
            }
            Request::CloseSession(id, reply) => {
                let closed = self
                    .sessions
                    .close_session(clock::now(), &id, Cause::Operator);
                give(reply, closed.map_err(|e| problem(&e)));
            }
            Request::Node(reply) => give(reply, Ok(self.node_view())),
            Request::Metrics(reply) => give(reply, Ok(self.metrics_snapshot())),
            Request::Ready(reply) => give(reply, Ok(self.readiness())),
        }
    }

    fn session_or_push(&self, id: &str) -> Option<SessionView> {
        let session = self.sessions.session_view(id);
        let session = session.map(|view| self.session_view(&view));
        session.or_else(|| self.sessions.push_view(id).map(|push| push_view(&push)))
    }

    fn session_page(&self, page: &Page) -> SessionPage {
        let sessions = self.sessions.session_views();
        let sessions = sessions.map(|view| (view.id, view.stream_name));
        let pushes = self.sessions.push_views();
        let pushes = pushes.map(|view| (view.id, view.stream_name));
        let is_wanted = |name: &String| page.stream.as_ref().is_none_or(|stream| stream == name);
        let mut ids: Vec<SessionId> = sessions
            .chain(pushes)
            .filter(|(_, name)| is_wanted(name))
            .map(|(id, _)| id)
            .collect();
        ids.sort();
        let total = ids.len();
        let after = page.after.as_deref().unwrap_or_default();
        let mut rest = ids.iter().filter(|id| id.as_str() > after);
        let sessions: Vec<_> = rest
            .by_ref()
            .take(page.limit)
            .filter_map(|id| self.session_or_push(id.as_str()))
            .collect();
        let next = rest
            .next()
            .and_then(|_| sessions.last())
            .map(|last| last.id.clone());
        SessionPage {
            sessions,
            total,
            next,
        }
    }
}

/// The asker may have gone away meanwhile; that is its right.
pub(super) fn give<T>(reply: Reply<T>, answer: Result<T, Problem>) {
    let _ = reply.send(answer);
}

pub(super) fn problem(error: &SignalError) -> Problem {
    let title = match error.status {
        400 => "The request cannot be read",
        404 => "There is no such stream or session",
        406 => "The offer and the stream have nothing in common",
        409 if error.name == "stream-taken" => "Somebody publishes this stream already",
        409 if error.name == "source-taken" => "Somebody sends from this address already",
        409 if error.name == "answer-awaited" => "The session is not complete yet",
        409 => "The stream has no media yet",
        415 => "The body is of another type than this session takes",
        412 => "The session has changed meanwhile",
        428 => "The request lacks a condition",
        503 => "No room for another session",
        _ => "The request cannot be granted",
    };
    let problem = Problem::new(
        error.status,
        error.name,
        title,
        error.detail.clone(),
        error.remedy,
    );
    match error.retry_after_secs {
        Some(seconds) => problem.retry_after(seconds),
        None => problem,
    }
}

fn unknown_stream(name: &StreamName) -> Problem {
    Problem::new(
        404,
        "stream-unknown",
        "There is no such stream or session",
        format!("nobody publishes {name}, or has lately"),
        "publish it first; GET /v1/streams lists what there is",
    )
}

pub(super) fn unknown_session() -> Problem {
    Problem::new(
        404,
        "session-unknown",
        "There is no such stream or session",
        "no session has this id, or it has ended",
        "GET /v1/sessions lists what there is",
    )
}
