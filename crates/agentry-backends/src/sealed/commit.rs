//! What threads hold, sealed and opened in place.

use agentry_core::ThreadId;
use agentry_core::run::{Answer, Effect, Event, Message};
use agentry_core::store::Error;
use agentry_core::thread::{
    Commit, Entry, EventId, Interrupt, Line, Loaded, NewRun, Run, Snapshot, Thread, Told,
};
use serde_json::{Map, Value};

use super::keyring::{Keyring, Safe};
use super::unreadable;
use super::value::{parse, text};

/// The member of a thread's metadata that says whose copy it is.
pub(super) const COPY_OF: &str = "~copy_of";

const INTAKE: &[u8] = b"intake";

impl Keyring {
    pub(super) fn thread(&self, thread: ThreadId) -> Result<Safe<'_>, Error> {
        self.safe(owner(thread))
    }

    /// The same, with what it has copies of.
    pub(super) fn described(&self, thread: &Thread) -> Result<Safe<'_>, Error> {
        let origins = self.origins(thread.id, &thread.metadata)?.into_iter().map(owner);
        let origins = origins.chain([INTAKE.to_vec()]).collect();
        Ok(self.thread(thread.id)?.with_origins(origins))
    }

    /// Of messages that come with a run: which thread they go to, the store finds out.
    pub(super) fn intake(&self) -> Result<Safe<'_>, Error> {
        self.safe(INTAKE.to_vec())
    }

    /// The threads that a copy was made of, directly or not.
    pub(super) fn origins(
        &self,
        thread: ThreadId,
        metadata: &Map<String, Value>,
    ) -> Result<Vec<ThreadId>, Error> {
        let Some(Value::String(sealed)) = metadata.get(COPY_OF) else { return Ok(Vec::new()) };
        match self.thread(thread)?.open(COPY_OF, sealed)? {
            Some(plain) => parse(&plain),
            None => Err(unreadable("it is not sealed")),
        }
    }

    /// What a copy's metadata holds besides what people see.
    pub(super) fn copy_of(&self, copy: ThreadId, origins: &[ThreadId]) -> Result<Value, Error> {
        let origins = serde_json::to_vec(origins).map_err(unreadable)?;
        self.thread(copy)?.seal(COPY_OF, origins).map(Value::String)
    }
}

impl Safe<'_> {
    pub(super) fn commit(&self, commit: &mut Commit) -> Result<(), Error> {
        let Commit { entry, runs, opened, events, snapshot, .. } = commit;
        let seq = entry.seq.0;
        self.writes(seq, &mut entry.writes)?;
        self.put(&place("body", seq), &mut entry.body)?;
        for run in runs {
            if let Some(reason) = &mut run.reason {
                *reason = self.string(&place("reason", run.run), reason)?;
            }
        }
        for interrupt in opened {
            self.interrupt(interrupt)?;
        }
        for (index, Event { detail, .. }) in events.iter_mut().enumerate() {
            self.put(&event(seq, index as u64), detail)?;
        }
        if let Some(Snapshot { seq, states, body }) = snapshot {
            self.states(seq.0, states)?;
            self.put(&place("body", seq.0), body)?;
        }
        Ok(())
    }

    pub(super) fn new_run(&self, run: &mut NewRun) -> Result<(), Error> {
        self.put(&place("input", run.id), &mut run.input)?;
        run.answers.iter_mut().try_for_each(|(id, answer)| self.answer(id, answer))
    }

    pub(super) fn answer(&self, interrupt: &str, answer: &mut Answer) -> Result<(), Error> {
        self.put(&place("answer", interrupt), &mut answer.value)
    }

    pub(super) fn answer_of(&self, interrupt: &str, answer: &mut Answer) -> Result<(), Error> {
        self.get(&place("answer", interrupt), &mut answer.value)
    }

    pub(super) fn message(&self, message: &mut Message) -> Result<(), Error> {
        self.put(&place("message", &message.id), &mut message.payload)
    }

    pub(super) fn effect(&self, key: &str, effect: &mut Effect) -> Result<(), Error> {
        match effect {
            Effect::Intended => Ok(()),
            Effect::Done { value } => self.put(&place("effect", key), value),
        }
    }

    fn interrupt(&self, interrupt: &mut Interrupt) -> Result<(), Error> {
        let Interrupt { id, question, schema, on_timeout, answer, .. } = interrupt;
        if let Some(question) = question {
            self.put(&place("question", &*id), question)?;
        }
        if let Some(schema) = schema {
            self.put(&place("schema", &*id), schema)?;
        }
        self.put(&place("on_timeout", &*id), on_timeout)?;
        answer.as_mut().map_or(Ok(()), |answer| self.answer(id, answer))
    }

    pub(super) fn interrupt_of(&self, interrupt: &mut Interrupt) -> Result<(), Error> {
        let Interrupt { id, question, schema, on_timeout, answer, .. } = interrupt;
        if let Some(question) = question {
            self.get(&place("question", &*id), question)?;
        }
        if let Some(schema) = schema {
            self.get(&place("schema", &*id), schema)?;
        }
        self.get(&place("on_timeout", &*id), on_timeout)?;
        answer.as_mut().map_or(Ok(()), |answer| self.answer_of(id, answer))
    }

    pub(super) fn run_of(&self, run: &mut Run) -> Result<(), Error> {
        self.get(&place("input", run.id), &mut run.input)?;
        if let Some(reason) = &mut run.reason {
            *reason = self.string_of(&place("reason", run.id), std::mem::take(reason))?;
        }
        Ok(())
    }

    pub(super) fn entry_of(&self, entry: &mut Entry) -> Result<(), Error> {
        self.writes_of(&mut entry.writes)?;
        self.get(&place("body", entry.seq.0), &mut entry.body)
    }

    pub(super) fn line_of(&self, line: &mut Line) -> Result<(), Error> {
        if let Some(Snapshot { seq, states, body }) = &mut line.snapshot {
            self.states_of(states)?;
            self.get(&place("body", seq.0), body)?;
        }
        line.entries.iter_mut().try_for_each(|entry| self.entry_of(entry))
    }

    pub(super) fn told_of(&self, told: &mut Told) -> Result<(), Error> {
        let EventId { seq, index } = told.id;
        self.get(&event(seq.0, index.into()), &mut told.event.detail)
    }

    pub(super) fn loaded_of(&self, loaded: &mut Loaded) -> Result<(), Error> {
        let Loaded { thread: _, line, journal, inbox, interrupts, runs } = loaded;
        self.line_of(line)?;
        for (key, effect) in journal {
            if let Effect::Done { value } = effect {
                self.get(&place("effect", key), value)?;
            }
        }
        for message in inbox {
            self.get(&place("message", &message.id), &mut message.payload)?;
        }
        interrupts.iter_mut().try_for_each(|interrupt| self.interrupt_of(interrupt))?;
        runs.iter_mut().try_for_each(|run| self.run_of(run))
    }

    fn put(&self, place: &str, value: &mut Value) -> Result<(), Error> {
        *value = Value::String(self.seal(place, text(value))?);
        Ok(())
    }

    fn get(&self, place: &str, value: &mut Value) -> Result<(), Error> {
        *value = self.value_of(place, value.take())?;
        Ok(())
    }
}

fn owner(thread: ThreadId) -> Vec<u8> {
    let mut owner = b"thread\0".to_vec();
    owner.extend(thread.as_bytes());
    owner
}

fn place(what: &str, id: impl std::fmt::Display) -> String {
    format!("{what}\0{id}")
}

fn event(seq: u64, index: u64) -> String {
    format!("event\0{seq}\0{index}")
}
