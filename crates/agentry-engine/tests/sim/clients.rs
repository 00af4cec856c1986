//! People and programs that want something: they submit, answer and cancel, and ask again until they know.

use std::sync::Arc;
use std::time::Duration;

use agentry_core::run::Answer;
use agentry_core::thread::{Cancel, Interrupt, Multitask};
use agentry_core::threads::{Signalled, Submitted, Threads as _};
use agentry_core::{Clock as _, RunId, ThreadId};
use agentry_engine::durable::{Handle, Wish};
use agentry_engine::{Command, Error, Request, Resume};
use serde_json::{Map, Value, json};

use crate::dice::Dice;
use crate::process::{Common, Post};

/// How long somebody waits for one reply.
const PATIENCE: Duration = Duration::from_secs(4);

pub(crate) struct Client {
    pub(crate) name: String,
    pub(crate) dice: Dice,
    pub(crate) posts: Vec<Arc<Post>>,
    pub(crate) common: Arc<Common>,
}

impl Client {
    /// Some process that is there, and its number.
    async fn somewhere(&mut self) -> (Handle, Arc<Post>) {
        loop {
            let post = Arc::clone(self.dice.pick(&self.posts));
            if let Some(handle) = post.handle() {
                return (handle, post);
            }
            tokio::time::sleep(self.dice.span(20, 400)).await;
        }
    }

    pub(crate) async fn pause(&mut self, least_ms: u64, most_ms: u64) {
        tokio::time::sleep(self.dice.span(least_ms, most_ms)).await;
    }

    /// Asks one process after the other until one has decided.
    async fn insist<T, Call>(&mut self, call: impl Fn(Handle) -> Call) -> Result<T, Error>
    where
        Call: Future<Output = Result<T, Error>>,
    {
        loop {
            let (handle, _) = self.somewhere().await;
            match tokio::time::timeout(PATIENCE, call(handle)).await {
                Ok(Ok(reply)) => return Ok(reply),
                Ok(Err(Error::Store(problem))) if problem_passes(&problem) => {}
                Ok(Err(other)) => return Err(other),
                Err(_) => {}
            }
            self.pause(50, 1_000).await;
        }
    }

    /// Submits until the run is there; one that is refused because others are under way is submitted later.
    pub(crate) async fn submit(&mut self, wish: Wish) {
        let (run, thread) = (wish.run, wish.thread);
        loop {
            match self.insist(async |handle: Handle| handle.submit(wish.clone()).await).await {
                Ok(Submitted::Created(id) | Submitted::Existing(id)) => {
                    if id != run {
                        self.wrong(format!("run {run} was submitted and is run {id} now"));
                    }
                    self.common.history.tell(|| format!("{}: has submitted {run}", self.name));
                    self.common.history.count("runs");
                    self.common.history.facts().submitted.insert(run, thread);
                    return;
                }
                Ok(Submitted::Busy { .. }) if wish.multitask == Multitask::Reject => {
                    self.common.history.count("refused as busy");
                }
                other => return self.wrong(format!("submission of {run}: {other:?}")),
            }
            self.pause(200, 3_000).await;
        }
    }

    pub(crate) fn wrong(&self, what: String) {
        self.common.history.wrong(format!("{}: {what}", self.name));
    }

    pub(crate) async fn run_id(&mut self) -> RunId {
        let (_, post) = self.somewhere().await;
        RunId::new(post.clock.now(), self.dice.bytes())
    }

    pub(crate) async fn wish(&mut self, thread: ThreadId, graph: &str, request: Request) -> Wish {
        let (_, post) = self.somewhere().await;
        let run = RunId::new(post.clock.now(), self.dice.bytes());
        Wish::new(run, thread, graph, request, post.clock.now())
    }

    /// Answers every question of a thread, for as long as there may be one.
    pub(crate) async fn answer_all(mut self, thread: ThreadId, graph: String) {
        while !self.common.shutdown.is_cancelled() {
            let open = self.common.store.questions(Some(thread), 99).await.unwrap();
            if !open.is_empty() {
                let question = self.dice.pick(&open).clone();
                if self.dice.chance(600) {
                    self.answer(&question).await;
                } else {
                    self.resume(&question, &graph).await;
                }
            }
            self.pause(100, 2_500).await;
        }
    }

    async fn answer(&mut self, question: &Interrupt) {
        let value = json!(format!("{} says {}", self.name, self.dice.below(1_000)));
        let (thread, id, name) = (question.thread, question.id.clone(), text_of(question));
        let (_, post) = self.somewhere().await;
        let actor = format!("person:{}", self.name);
        let answer = Answer { value: value.clone(), actor, at: post.clock.now() };
        let reply = self.insist(async |handle: Handle| {
            handle.answer(thread, &id, answer.clone(), Vec::new()).await
        });
        match reply.await {
            Ok(Signalled::Accepted) => self.won(question, &name, &value),
            Ok(Signalled::AlreadyAnswered(first)) => self.won(question, &name, &first.value),
            Ok(Signalled::NotFound | Signalled::Expired | Signalled::Finished(_)) => {}
            other => self.wrong(format!("answer to {name}: {other:?}")),
        }
    }

    /// Answers by a run that goes on with the thread.
    async fn resume(&mut self, question: &Interrupt, graph: &str) {
        let value = json!(format!("{} resumes with {}", self.name, self.dice.below(1_000)));
        let (thread, name) = (question.thread, text_of(question));
        let resume = Resume::Each([(question.id.clone(), value.clone())].into());
        let command = Command { resume: Some(resume), ..Command::default() };
        let wish = self.wish(thread, graph, Request::Command(command)).await;
        let run = wish.run;
        match self.insist(async |handle: Handle| handle.submit(wish.clone()).await).await {
            Ok(Submitted::Created(_) | Submitted::Existing(_)) => {
                self.common.history.facts().submitted.insert(run, thread);
                self.won(question, &name, &value);
            }
            Ok(Submitted::AlreadyAnswered { answer, .. }) => {
                self.won(question, &name, &answer.value);
            }
            Ok(Submitted::NoInterrupt { .. }) => {}
            other => self.wrong(format!("resume of {name}: {other:?}")),
        }
    }

    fn won(&self, interrupt: &Interrupt, question: &str, answer: &Value) {
        self.common.history.tell(|| format!("{}: hears {answer} to {question}", self.name));
        self.common.history.answered(interrupt, question, answer);
    }

    pub(crate) async fn cancel(&mut self, (thread, run): (ThreadId, RunId)) {
        let (_, post) = self.somewhere().await;
        let (at, rollback) = (post.clock.now(), self.dice.chance(400));
        let cancel = Cancel { reason: format!("{} had enough", self.name), at, rollback };
        self.common.history.facts().cancelled.insert(run);
        let reply = self.insist(async |handle: Handle| {
            handle.cancel((thread, run), cancel.clone(), Vec::new()).await
        });
        match reply.await {
            Ok(
                Signalled::Accepted
                | Signalled::Duplicate
                | Signalled::Finished(_)
                | Signalled::NotFound,
            ) => {}
            other => self.wrong(format!("cancellation of {run}: {other:?}")),
        }
    }

    /// Several runs on one thread, under every strategy.
    pub(crate) async fn crowd(mut self, thread: ThreadId, strategies: Vec<Multitask>) {
        for _ in 0..self.dice.between(1, 4) {
            self.pause(0, 9_000).await;
            let run = self.run_id().await;
            let input = Map::from_iter([("seen".to_owned(), json!([run.to_string()]))]);
            let mut wish = self.wish(thread, "shared", Request::Input(input)).await;
            (wish.run, wish.multitask) = (run, *self.dice.pick(&strategies));
            if self.dice.chance(150) {
                wish.not_before = Some(wish.created.plus(self.dice.span(100, 8_000)));
            }
            if self.dice.chance(100) {
                wish.deadline = Some(wish.created.plus(self.dice.span(500, 20_000)));
            }
            let cancels = self.dice.chance(150);
            let submitting = self.submit(wish);
            submitting.await;
            if cancels {
                self.pause(0, 3_000).await;
                self.cancel((thread, run)).await;
            }
        }
    }
}

fn text_of(question: &Interrupt) -> String {
    question.question.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn problem_passes(problem: &agentry_core::store::Error) -> bool {
    use agentry_core::store::Error;
    match problem {
        Error::Unavailable(_) | Error::Overloaded | Error::Ambiguous(_) => true,
        Error::Incompatible(_) | Error::Refused(_) | Error::Fatal(_) => false,
    }
}
