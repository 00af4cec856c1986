//! One agent: a model, tools, and a bounded loop.
