//! Durable graphs: step, commit, perform, park, resume.
